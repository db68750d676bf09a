"""The work: graphs of operations built from model configurations, and transforms of them."""

from workloads.builders import build
from workloads.config import read_config
from workloads.phase import decode, prefill
from workloads.read_model import read_model
from workloads.transforms.quantize import quantize

__all__ = ["build", "decode", "prefill", "quantize", "read_config", "read_model"]
