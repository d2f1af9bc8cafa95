"""What every package needs: files, errors, devices, progress, provenance. It knows nothing of studies."""
