"""Do the paper's claims hold on a table of metrics, and how sure is that?"""

from dit_scaling.claims.agreement import AgreementReport, compare_metrics
from dit_scaling.claims.evaluate import evaluate_claims
from dit_scaling.claims.fits import PowerLawFit, fit_power_law
from dit_scaling.claims.metrics_table import read_metrics_table
from dit_scaling.claims.verdicts import Claim, ClaimsReport

__all__ = [
    "AgreementReport",
    "Claim",
    "ClaimsReport",
    "PowerLawFit",
    "compare_metrics",
    "evaluate_claims",
    "fit_power_law",
    "read_metrics_table",
]
