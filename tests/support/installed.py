"""What tests may use of what is installed here."""

from __future__ import annotations

from kernels_ref.cases import SYNTHETIC, VALUES
from kernels_ref.trained_weights import available

KINDS_OF_VALUES = tuple(VALUES) if available() else SYNTHETIC
