"""What working together brings, by events: the tables of docs/event_cooperation.md.

python benchmarks/cooperation.py [attention] [experts] [clusters] [speculation]
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from sim.api import simulate
from sim.run import Run

SYSTEM = "a6000_xeon"


def run(design: str, model: str, policy: str, **sizes: object) -> Run:
    return simulate(design, model, simulator="event", policy=policy, **sizes)  # type: ignore[arg-type]


def attention() -> None:
    """Llama 2 7B, 32 sequences, caches of eight layers on the host: who attends, by length."""
    print("| keys | caches away | host attends | fetched | on the GPU |")
    for context in (64, 256, 1024, 2048, 4096):
        sizes = {"batch": 32, "context": context}
        ways = ("layers=8,where=spread", "layers=8,by=fetch,where=spread", "layers=0")
        runs = [run(SYSTEM, "llama-2-7b", f"host_attention({way})", **sizes) for way in ways]
        times = " | ".join(f"{found.latency_s * 1e3:.1f} ms" for found in runs)
        print(f"| {context} | {runs[0].stages[1].kv_bytes / 2**30:.2f} GiB | {times} |")
    print("| sequences in a batch, of 4096 keys | layers on the host | one batch | two in turn |")
    for batch in (16, 32):
        rates = []
        for batches in (1, 2):
            policy = f"host_attention(layers=24,batches={batches})"
            found = run(SYSTEM, "llama-2-7b", policy, batch=batch, context=4096)
            rates.append(f"{found.tokens_per_s:.1f} tokens/s")
        print(f"| {batch} | 24 | {' | '.join(rates)} |")


def experts() -> None:
    """A quarter of the experts on the GPU: who has the others."""
    print("| model | step | loaded | on the host | greedy |")
    for model, sizes, said in (
        ("deepseek-v2-lite", {"batch": 1}, "1 token"),
        ("deepseek-v2-lite", {"batch": 32}, "32 tokens"),
        ("deepseek-v2-lite", {"phase": "prefill", "prompt": 512}, "prompt of 512"),
        ("mixtral-8x7b", {"batch": 1}, "1 token"),
        ("mixtral-8x7b", {"phase": "prefill", "prompt": 512}, "prompt of 512"),
    ):
        times = [
            run(SYSTEM, model, f"host_experts(cached=0.25,load={load})", **sizes).latency_s
            for load in ("all", "none", "greedy")
        ]
        print(f"| `{model}` | {said} | {' | '.join(f'{t * 1e3:.1f} ms' for t in times)} |")


def clusters() -> None:
    """Mixtral 8x7B at four bits on a phone, by what is found in memory."""
    print("| cached | found | in memory | clusters | barriers |")
    for cached, hits in ((1.0, 1.0), (0.78, 0.97), (0.78, 0.78), (0.19, 0.6), (0.19, 0.19)):
        rates = []
        for pipeline in ("cluster", "matrix"):
            policy = (
                f"neuron_clusters(hot=0.1,active=0.08,cached={cached},hits={hits},rank=512,"
                f"pipeline={pipeline})"
            )
            found = run("snapdragon_8_gen_3", "mixtral-8x7b", policy, formats="w4a8", context=512)
            rates.append(f"{found.tokens_per_s:.2f} tokens/s")
        print(f"| {cached} | {hits} | {found.main_bytes / 1e9:.1f} GB | {' | '.join(rates)} |")


def speculation() -> None:
    """Llama 2 13B over seven servers, a draft on the eighth; tokens a second."""
    print("| draft | k | right | none | sync | async | not cancelled |")
    for draft, k, accept in (
        ("llama-3.2-1b", 2, 0.8),
        ("llama-3.2-1b", 4, 0.8),
        ("opt-125m", 4, 0.6),
        ("opt-125m", 4, 0.8),
        ("opt-125m", 4, 0.95),
    ):
        rates = []
        for way in ("none", "sync", "async", "uncancelled"):
            policy = f"async_speculation(draft={draft},k={k},accept={accept},tokens=256,way={way})"
            found = run("xeon_8480_8", "llama-2-13b", policy, context=512)
            rates.append(f"{found.tokens_per_s:.1f}")
        print(f"| `{draft}` | {k} | {accept} | {' | '.join(rates)} |")


TABLES: dict[str, Callable[[], None]] = {
    "attention": attention,
    "experts": experts,
    "clusters": clusters,
    "speculation": speculation,
}

if __name__ == "__main__":
    for name in sys.argv[1:] or TABLES:
        TABLES[name]()
