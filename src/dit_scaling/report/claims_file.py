"""The verdicts as the aggregate stage wrote them."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from dit_scaling.claims import ClaimsReport
from dit_scaling.common.errors import UserError
from dit_scaling.common.files import read_json

_REPORT = TypeAdapter(ClaimsReport)


def read_claims(path: Path) -> ClaimsReport:
    """claims.json with all that the verdicts rest on.

    Raises:
        UserError: the file is missing, or no report on claims of this version.
    """
    try:
        return _REPORT.validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its content"
        raise UserError(
            f"{path} is no report on claims ({where}: {first['msg']}). Run: snakemake --forcerun aggregate."
        ) from None
