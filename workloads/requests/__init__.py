"""Requests that a service gets: when they come and how long they are.

mix = read_mix("poisson(rate=10)+lengths(prompt=1024,output=lognormal(mean=256,cv=1))")
for request in requests(mix, seed=0): ...
"""

from workloads.requests.mix import Mix, file_schema, read_mix, requests
from workloads.requests.request import Prefix, Request
from workloads.requests.statistics import statistics

__all__ = ["Mix", "Prefix", "Request", "file_schema", "read_mix", "requests", "statistics"]
