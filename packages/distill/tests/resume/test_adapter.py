"""What trained, in one file: what is written comes back, and nothing else is taken for it."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from distill import load_adapter, save_adapter


def trained():
    return {"a.weight": torch.randn(3, 4), "b.bias": torch.randn(5)}


def test_what_is_written_comes_back_in_place(tmp_path):
    path, written = tmp_path / "deep" / "adapter.safetensors", trained()
    save_adapter(path, written, {"made": "here"})
    into = {name: torch.zeros_like(value).requires_grad_() for name, value in written.items()}
    places = {name: value.data_ptr() for name, value in into.items()}
    load_adapter(path, into)
    assert all(torch.equal(into[name], written[name]) for name in written)
    assert places == {name: value.data_ptr() for name, value in into.items()}
    assert [p.name for p in path.parent.iterdir()] == ["adapter.safetensors"]


def test_a_weight_that_two_layers_share_is_written_under_both_names(tmp_path):
    path, weight = tmp_path / "adapter.safetensors", torch.randn(3, 4)
    save_adapter(path, {"embedding.weight": weight, "head.weight": weight, "row": weight[0]})
    into = {"embedding.weight": torch.zeros(3, 4), "head.weight": torch.zeros(3, 4)}
    load_adapter(path, into | {"row": torch.zeros(4)})
    assert all(torch.equal(value, weight) for value in into.values())


def test_an_adapter_is_for_those_whom_the_umask_leaves(tmp_path):
    save_adapter(tmp_path / "adapter.safetensors", trained())
    (tmp_path / "other").touch()
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize("there", [True, False])
def test_of_a_link_what_it_leads_to_is_written(tmp_path, there):
    link, target = tmp_path / "adapter.safetensors", tmp_path / "disk" / "other.safetensors"
    link.symlink_to("disk/other.safetensors")
    if there:
        save_adapter(target, {"old": torch.zeros(1)})
    save_adapter(link, trained())
    assert link.is_symlink() and list(target.parent.iterdir()) == [target]
    load_adapter(target, trained())


def test_what_a_killed_writer_left_half_done_is_in_nobodys_way(tmp_path):
    path = tmp_path / "adapter.safetensors"
    half = tmp_path / ".adapter.safetensors.partial"
    half.mkdir()
    (half / path.name).write_bytes(b"half")
    save_adapter(path, trained())
    assert [p.name for p in tmp_path.iterdir()] == ["adapter.safetensors"]
    load_adapter(path, trained())


def test_writers_of_one_file_take_turns_and_readers_find_it_whole(tmp_path):
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, trained())

    def write_and_read(number):
        for _ in range(10):
            save_adapter(path, {n: torch.full_like(v, number) for n, v in trained().items()})
            into = trained()
            load_adapter(path, into)
            assert (
                len({float(value) for tensor in into.values() for value in tensor.flatten()}) == 1
            )

    with ThreadPoolExecutor(4) as writers:
        list(writers.map(write_and_read, range(4)))
    assert [p.name for p in tmp_path.iterdir()] == ["adapter.safetensors"]


def test_an_adapter_of_another_model_is_told_apart_by_its_names_and_shapes(tmp_path):
    path = tmp_path / "adapter.safetensors"
    save_adapter(path, trained())
    into = {"a.weight": torch.zeros(4, 3)} | {f"c.{i}": torch.zeros(1) for i in range(4)}
    with pytest.raises(ValueError) as told:
        load_adapter(path, into)
    for part in ("4 missing (c.0, c.1, c.2, ...)", "1 unknown (b.bias)", "shape (a.weight)"):
        assert part in str(told.value)
    assert not into["a.weight"].any()
    with pytest.raises(ValueError, match=r"none missing, 1 unknown \(b\.bias\), none of another"):
        load_adapter(path, {"a.weight": torch.zeros(3, 4)})


def test_what_is_missing_or_damaged_is_named(tmp_path):
    path = tmp_path / "adapter.safetensors"
    with pytest.raises(ValueError, match=r"adapter\.safetensors does not exist; it must"):
        load_adapter(path, trained())
    save_adapter(path, trained())
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"is damaged .*: copy or distill it again"):
        load_adapter(path, trained())


def test_a_tensor_that_takes_no_values_is_named(tmp_path):
    save_adapter(tmp_path / "adapter", {"weight": torch.ones(3)})
    with pytest.raises(ValueError, match="weight=tensor on meta; it takes no values"):
        load_adapter(tmp_path / "adapter", {"weight": torch.empty(3, device="meta")})
