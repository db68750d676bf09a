"""Matrix engines by the `kind:` written in a design. A new kind is a module and a line here."""

from accel_models.engines.blocks import DotProduct, Lut, OuterProduct, Simd
from accel_models.engines.systolic import Systolic
from accel_models.engines.tile import Engine, MatmulTile, OperandWords, Service
from accel_models.facts import Facts

ENGINES: dict[str, type[Facts]] = {
    "systolic": Systolic,
    "dot_product": DotProduct,
    "lut": Lut,
    "outer_product": OuterProduct,
    "simd": Simd,
}

__all__ = ["ENGINES", "Engine", "MatmulTile", "OperandWords", "Service"]
