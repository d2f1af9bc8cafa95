"""How glibc treats the memory that a job frees."""

KEPT_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(2**34), "MALLOC_MMAP_THRESHOLD_": str(2**30)}
"""Environment of processes that keep what they free for their next use, up to so many bytes.

Left alone, glibc hands the activations of a step back to the kernel, which clears the same pages again for the next
step. The peak of a process is what it was.
"""
