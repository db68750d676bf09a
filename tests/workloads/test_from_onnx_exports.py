"""Graphs of models that torch exports here, against the modules' own parameters and closed forms of
their work."""

from __future__ import annotations

import pytest

from sim import simulate
from workloads.from_onnx import from_onnx

REASON = "exports models: pip install 'tileloom[onnx]' torch onnxscript"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("onnx", reason=REASON)
pytest.importorskip("onnxscript", reason=REASON)
pytestmark = pytest.mark.filterwarnings("ignore")

nn, functional = torch.nn, torch.nn.functional


def exported(folder, module, inputs, **options):
    """The path of the module's export, with parameters that differ (equal ones are merged)."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    path = str(folder / "model.onnx")
    torch.onnx.export(module.eval(), inputs, path, dynamo=True, verbose=False, **options)
    return path


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def kinds(graph):
    return [getattr(n.op, "function", n.op.kind) for n in graph]


def macs(graph):
    return sum(n.count * n.op.macs for n in graph)


def test_a_perceptron(tmp_path):
    module = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 32))
    graph = from_onnx(exported(tmp_path, module, (torch.zeros(2, 8, 64),)))
    assert kinds(graph) == ["einsum", "gelu", "einsum"]
    assert macs(graph) == 16 * (64 * 128 + 128 * 32)
    assert graph.params == parameters(module)
    assert graph.weight_bytes == 4 * parameters(module)


def test_a_convolutional_net(tmp_path):
    module = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.Conv2d(16, 32, 1),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 64, 10),
    )
    graph = from_onnx(exported(tmp_path, module, (torch.zeros(1, 3, 32, 32),)))
    area = 16 * 16
    products = (3 * 16 * 9 * area, 16 * 9 * area, 16 * 32 * area, 32 * 64 * 10)
    assert [n.op.macs for n in graph if n.op.macs] == list(products)
    assert graph.params == parameters(module)


class SelfAttention(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = (
            part.view(batch, length, self.heads, -1).transpose(1, 2)
            for part in self.qkv(x).chunk(3, -1)
        )
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(seen.transpose(1, 2).reshape(batch, length, width))


@pytest.mark.parametrize("causal", [False, True])
def test_attention_stays_two_multiplications_and_a_softmax(tmp_path, causal):
    module = SelfAttention(64, 4, causal)
    graph = from_onnx(exported(tmp_path, module, (torch.zeros(2, 8, 64),)))
    projections, scores = 16 * 64 * (192 + 64), 2 * 4 * 8 * 8 * 16
    assert macs(graph) == projections + 2 * scores
    assert kinds(graph).count("softmax") == 1
    weights = sum(t.elements for t in graph.tensors.values() if t.kind == "weight")
    masks = 8 * 8 if causal else 0
    assert weights - parameters(module) in (0, masks)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """Four identical layers of an encoder: the export, and the module."""
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True)
    module = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    folder = tmp_path_factory.mktemp("encoder")
    return exported(folder, module, (torch.zeros(2, 10, 64),)), module


def test_an_encoder_layer_stands_once_for_all(encoder):
    path, module = encoder
    graph = from_onnx(path)
    assert {n.count for n in graph if n.op.macs} == {4}
    rows, scores = 2 * 10, 2 * 4 * 10 * 10 * 16
    each = rows * (64 * 192 + 64 * 64 + 2 * 64 * 128) + 2 * scores
    assert macs(graph) == 4 * each
    assert graph.params == parameters(module)
    assert kinds(graph).count("layernorm") == 2


def test_a_folded_encoder_costs_what_its_layers_cost(encoder):
    """Folding may change what is fused across layers; nothing more."""
    from workloads.from_onnx import repeats
    from workloads.read_model import Model

    path, _ = encoder
    once = from_onnx(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "_best", lambda graph: None)
        apart = from_onnx(path)
    assert len(apart.nodes) > 2 * len(once.nodes)
    runs = [simulate("a100_sxm", Model("m", fixed=g), formats="fp16") for g in (once, apart)]
    assert runs[0].latency_s == pytest.approx(runs[1].latency_s, rel=0.02)
    assert runs[0].weight_bytes == runs[1].weight_bytes


def test_open_sizes_of_an_export(tmp_path):
    module = SelfAttention(64, 4, False)
    shapes = ({0: "batch", 1: "length"},)
    path = exported(tmp_path, module, (torch.zeros(2, 8, 64),), dynamic_shapes=shapes)
    graph = from_onnx(f"{path}?batch=3,length=16")
    assert macs(graph) == 3 * 16 * 64 * 256 + 2 * 3 * 4 * 16 * 16 * 16
