"""Write the fixtures that come from the public Depth Anything 3 wheel: single view, nested, splats.

Unpack the wheel with its small pure-Python needs into a folder and name it:

    pip download --no-deps --dest wheels depth-anything-3==0.1.1
    pip install --no-deps --target upstream wheels/*.whl einops addict e3nn opt_einsum opt_einsum_fx
    PYTHONPATH=upstream python packages/recon-backbones/tests/make_fixtures.py

Weights are random. Everything else that the wheel imports is replaced by empty stand-ins.
"""

import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

FIXTURES = Path(__file__).parent / "fixtures"
MONO = {
    "embed_dim": 24,
    "depth": 5,
    "num_heads": 2,
    "mlp_ratio": 4,
    "out_layers": [0, 2, 3, 4],
    "head": {"features": 16, "out_channels": [8, 12, 16, 20]},
}
ANYVIEW = {
    "embed_dim": 32,
    "depth": 6,
    "num_heads": 2,
    "mlp_ratio": 4,
    "ffn": "mlp",
    "alt_start": 2,
    "qknorm_start": 2,
    "rope_start": 2,
    "rope_freq": 100,
    "out_layers": [2, 3, 4, 5],
    "head": {"features": 16, "out_channels": [8, 12, 16, 20]},
    "cam_enc": {"trunk_depth": 1, "num_heads": 16},
}
COMMON = {"patch_size": 14, "pos_grid": 37}
CASES = {
    "s1_56x42": (1, 1, 56, 42),
    "s3_56x70": (1, 3, 56, 70),
    "s10_28x28_chunked": (1, 10, 28, 28),
}


def transformer(sizes: dict[str, Any]) -> nn.Module:
    """The wheel's transformer of any size, in the wrapper that its networks expect."""
    from depth_anything_3.model.dinov2.dinov2 import DinoV2
    from depth_anything_3.model.dinov2.vision_transformer import DinoVisionTransformer

    keys = ("alt_start", "qknorm_start", "rope_start")
    wrapper = DinoV2.__new__(DinoV2)
    nn.Module.__init__(wrapper)
    wrapper.out_layers = sizes["out_layers"]
    wrapper.pretrained = DinoVisionTransformer(
        img_size=518,
        patch_size=14,
        embed_dim=sizes["embed_dim"],
        depth=sizes["depth"],
        num_heads=sizes["num_heads"],
        mlp_ratio=sizes["mlp_ratio"],
        ffn_layer=sizes.get("ffn", "mlp"),
        cat_token="alt_start" in sizes,
        **{key: sizes.get(key, -1) for key in keys},
    )
    return wrapper


def single_view() -> nn.Module:
    """The wheel's mono and metric network at small size."""
    from depth_anything_3.model.da3 import DepthAnything3Net
    from depth_anything_3.model.dpt import DPT

    head = DPT(dim_in=MONO["embed_dim"], output_dim=1, **MONO["head"])
    return DepthAnything3Net(transformer(MONO), head)


def nested() -> nn.Module:
    """The wheel's nested network at small size."""
    from depth_anything_3.model.cam_dec import CameraDec
    from depth_anything_3.model.cam_enc import CameraEnc
    from depth_anything_3.model.da3 import DepthAnything3Net, NestedDepthAnything3Net
    from depth_anything_3.model.dualdpt import DualDPT

    c = ANYVIEW["embed_dim"]
    net = NestedDepthAnything3Net.__new__(NestedDepthAnything3Net)
    nn.Module.__init__(net)
    net.da3 = DepthAnything3Net(
        transformer(ANYVIEW),
        DualDPT(dim_in=2 * c, output_dim=2, **ANYVIEW["head"]),
        CameraDec(dim_in=2 * c),
        CameraEnc(dim_out=c, **ANYVIEW["cam_enc"]),
    )
    net.da3_metric = single_view()
    return net


def draw(net: nn.Module, seed: int) -> nn.Module:
    """Random weights under which every part matters and some pixels are sky."""
    torch.manual_seed(seed)
    for name, parameter in net.named_parameters():
        if parameter.ndim > 1:
            fan = parameter[0].numel() if "embed" not in name and "token" not in name else 4
            nn.init.normal_(parameter, std=fan**-0.5)
        else:
            nn.init.uniform_(parameter, 0.5, 1.0) if "norm" in name or "gamma" in name else (
                nn.init.normal_(parameter, std=0.1)
            )
    return net.eval()


def public_state(net: nn.Module) -> dict[str, Tensor]:
    """Weights as the public files hold them: below `model.`, shared tensors once."""
    kept, seen = {}, set()
    for name, tensor in net.state_dict().items():
        if tensor.data_ptr() not in seen:
            kept[f"model.{name}"] = tensor.contiguous()
            seen.add(tensor.data_ptr())
    return kept


@torch.no_grad()
def write(folder: str, model: str, net: nn.Module, sizes: dict[str, Any], names: list[str]) -> None:
    """One directory: config, weights, and a file per case."""
    root = FIXTURES / folder
    root.mkdir(parents=True, exist_ok=True)
    save_file(public_state(net), root / "weights.safetensors")
    for seed, case in enumerate(CASES):
        torch.manual_seed(100 + seed)
        b, v, height, width = CASES[case]
        images = torch.randn(b, v, 3, height, width)
        out = net(images)
        found = {f"out.{name}": out[name].contiguous() for name in names}
        if "scale_factor" in out:
            found["out.scale"] = torch.tensor([out["scale_factor"]])
        save_file({"in.x": images, **found}, root / f"case_{case}.safetensors")
    config = {"model": model, **COMMON, **sizes, "cases": {case: {} for case in CASES}}
    (root / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def splats() -> None:
    """The wheel's adapter on random raw parameters."""
    from depth_anything_3.model.gs_adapter import GaussianAdapter
    from depth_anything_3.utils.geometry import quat_to_mat

    torch.manual_seed(7)
    b, v, height, width = 2, 3, 5, 7
    raw, depth = torch.randn(b, v, height, width, 37), 1 + torch.rand(b, v, height, width)
    rotation = quat_to_mat(torch.randn(b, v, 4))
    world_to_camera = torch.cat((rotation, torch.randn(b, v, 3, 1)), dim=-1)
    bottom = torch.tensor([0.0, 0, 0, 1]).expand(b, v, 1, 4)
    intrinsics = torch.tensor([[6.0, 0, 3.4], [0, 5, 2.6], [0, 0, 1]]).repeat(b, v, 1, 1)
    opacity = torch.rand(b, v, height, width)
    adapter = GaussianAdapter(sh_degree=2, pred_offset_depth=True)
    out = adapter(
        extrinsics=torch.cat((world_to_camera, bottom), dim=-2),
        intrinsics=intrinsics,
        depths=depth,
        opacities=opacity,
        raw_gaussians=raw,
        image_shape=(height, width),
    )
    inputs = {
        "raw": raw,
        "opacity": opacity,
        "depth": depth,
        "world_to_camera": world_to_camera,
        "intrinsics": intrinsics,
    }
    fields = ("means", "scales", "rotations", "harmonics")
    expected = {f"out.{name}": getattr(out, name).contiguous() for name in fields}
    root = FIXTURES / "splats"
    root.mkdir(exist_ok=True)
    save_file({f"in.{n}": t for n, t in inputs.items()} | expected, root / "units.safetensors")


def manifests() -> None:
    """Names and shapes of the public single-view file."""
    import gzip

    from depth_anything_3.model.da3 import DepthAnything3Net
    from depth_anything_3.model.dinov2.dinov2 import DinoV2
    from depth_anything_3.model.dpt import DPT

    net = DepthAnything3Net(
        DinoV2("vitl", [4, 11, 17, 23], cat_token=False), DPT(dim_in=1024, output_dim=1)
    )
    shapes = {f"model.{name}": list(tensor.shape) for name, tensor in net.state_dict().items()}
    packed = gzip.compress(json.dumps(shapes).encode(), mtime=0)
    (FIXTURES / "keys" / "da3mono-large.json.gz").write_bytes(packed)


def main() -> None:
    """Write everything."""
    for name in ("omegaconf", "evo", "evo.core", "evo.core.trajectory"):
        sys.modules.setdefault(name, MagicMock())
    mono = draw(single_view(), 1)
    write("da3mono-tiny", "da3mono", mono, MONO, ["depth", "sky"])
    whole = draw(nested(), 2)
    names = ["depth", "depth_conf", "extrinsics", "intrinsics"]
    sizes = {"anyview": ANYVIEW, "metric": MONO}
    write("da3nested-tiny", "da3nested", whole, sizes, names)
    splats()
    manifests()


if __name__ == "__main__":
    main()
