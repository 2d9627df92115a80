import math

import numpy as np
import pytest
import torch

from compress.artifact import decode, load
from compress.channel import Link
from compress.codebooks import codebooks_of
from compress.halves import DeviceHalf, coded_bits, device_half, head_tensors
from compress.method import KnobError
from compress.methods.codebook import Codebook
from compress.metrics import count_macs
from compress.shipping import device_file, ship
from compress.training_codebooks import TrainingCodebook, training_codebooks
from tasks import evaluate
from tasks.networks import build_network
from tests.tiny import OPTIMIZER, small_net, tiny_start, tiny_task, tiny_trainer
from trainables.trainer import Recipe, Trainer

AT = {"layer": "bn1"}


def _channels(*ns, layer="conv1"):
    return [{"layer": layer, "prune_epochs": [0.5 * n for n in range(len(ns))], "prune_ns": list(ns)}]


def _inputs(trainer):
    return trainer.validation.normalise(trainer.validation.images)


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"entropy": "joint"}, "entropy = 'joint': must be one of marginal, conditional"),
        ({"modulation": "fm"}, "modulation = 'fm': must be one of psk, qam, none"),
        ({"scores": "cosine"}, "scores = 'cosine': must be one of dot, distance"),
        *(
            ({"PSNR": n}, f"PSNR = {n}: must lie in [-50, 100] dB")
            for n in (float("inf"), float("nan"), 4000.0, -4000.0)
        ),
        ({"tau": 0.0}, "tau = 0.0: must be a finite number above 0"),
        ({"clean_weight": -1.0}, "clean_weight = -1.0: must be a finite number from 0"),
        ({"coded_images": 0}, "coded_images = 0: must be a whole number from 1"),
        ({"beta": "Linear(1)"}, "beta = 'Linear(1)': must be a number, ConstantBeta(b), or one of LinearBeta(b0, b1)"),
        ({"codebooks": []}, "codebooks = []: must name one layer at least"),
        ({"active": 1}, "active = 1: must be the number of a codebook, from 0 to 0"),
        ({"codebooks": [AT, {"layr": "bn1"}]}, "codebooks.1.layr = 'bn1': no such key; did you mean layer?"),
        ({"prune_channels": [{"layer": "a", "prune_ns": [1]}]}, "prune_channels.0.prune_ns = [1]: must have as many"),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_one_line(knobs, line):
    with pytest.raises(KnobError) as caught:
        Codebook(**knobs)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("layer", "line"),
    [
        ("conv3", r"codebooks\.0\.layer = 'conv3': the network has no such layer; did you mean conv"),
        ("relu()", r"codebooks\.0\.layer = 'relu\(\)': must be a path"),
    ],
)
def test_a_layer_that_is_not_there_is_said(layer, line):
    with pytest.raises(KnobError, match=f"^{line}"):
        tiny_trainer("codebook", codebooks=[{"layer": layer}])


def test_a_layer_that_something_goes_around_divides_nothing():
    network = build_network("resnet20", (3, 16, 16), 10, {"maps": 4})
    with pytest.raises(
        KnobError, match=r"^codebooks\.0\.layer = 'layer1\[0\]\.conv1': must be a layer that everything passes"
    ):
        Codebook(codebooks=[{"layer": "layer1[0].conv1"}]).prepare(network, lambda: iter([torch.randn(4, 3, 16, 16)]))


def test_events_belong_to_the_phase_before_networks_compare():
    def phases(books, channels=(), epochs=8):
        return Codebook(codebooks=books, prune_channels=channels).phases(epochs)

    assert phases([AT]) == {"train": 8}
    assert phases([{**AT, "prune_epochs": [0.5, 0.75], "prune_ns": [2, 0]}]) == {"prune": 5, "train": 3}
    assert phases([{**AT, "prune_epochs": [0.3], "prune_ns": [2]}], epochs=7) == {"prune": 4, "train": 3}
    assert phases([AT], _channels(1, 2)) == {"prune": 5, "train": 3}
    assert phases([{**AT, "prune_epochs": [0.99], "prune_ns": [2]}]) == {"prune": 8, "train": 0}


def test_k_means_draws_from_the_trials_seed():
    batch, found = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)), []
    for seed in (5, 5, 6):
        torch.manual_seed(0)
        network = small_net()
        torch.manual_seed(seed)
        Codebook(codebooks=[AT]).prepare(network, lambda: iter([batch]))
        found.append(training_codebooks(network)[0].embedding.detach())
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0].sort(0).values, found[2].sort(0).values)


def test_a_transformers_vectors_are_its_tokens():
    torch.manual_seed(0)
    network = build_network("vit_tiny", (3, 16, 16), 10, {})
    batch = torch.randn(8, 3, 16, 16)
    method = Codebook()
    method.prepare(network, lambda: iter([batch]))
    (layer,) = training_codebooks(network)
    seen = []
    layer.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    with torch.no_grad():
        network.eval()(batch)
    ((into, out),) = seen
    assert into.dim() == 3
    assert into.shape == (8, into.shape[1], layer.shape.channels)
    assert float(torch.cdist(out.reshape(-1, into.shape[2]), layer.embedding.detach()).min(1).values.max()) < 1e-4
    assert device_half(network, (3, 16, 16), keep=True)(batch).shape == into.shape[:2]


# training


def test_groups_are_the_codebooks_and_the_rest():
    trainer = tiny_trainer("codebook", codebooks=[{"layer": "bn1", "hidden_dim": 3}])
    groups = trainer.method.parameter_groups(trainer.model)
    assert sorted(tuple(p.shape) for p in groups["codebook"]) == [(3,), (3, 8), (8,), (8, 3), (16, 3)]
    assert sum(p.numel() for p in groups["base"]) == trainer.weights


@pytest.mark.parametrize("entropy", ["marginal", "conditional"])
def test_beta_follows_its_schedule_and_enters_the_loss(entropy):
    trainer = tiny_trainer("codebook", beta="LinearBeta(1, 3)", entropy=entropy)
    method, model = trainer.method, trainer.model
    (layer,) = training_codebooks(model)
    inputs, _ = next(trainer._batches(0))
    for progress, beta in ((0.0, 1.0), (0.5, 2.0), (1.0, 3.0)):
        method.on_step(model, progress)
        torch.manual_seed(0)
        model.train()(inputs)
        term = layer.entropies[("marginal", "conditional").index(entropy)]
        assert float(method.penalty(model).detach()) == pytest.approx(beta * float(term.detach()))


@pytest.mark.slow
def test_codebooks_are_pruned_in_time_by_counts_of_evaluation():
    books = [{"layer": "bn1", "codebook_size": 8, "prune_epochs": [0.25, 0.5], "prune_ns": [2, 3]}]
    trainer = tiny_trainer("codebook", epochs=4, codebooks=books)
    (layer,) = training_codebooks(trainer.model)
    lives, bits = [], []
    for _ in range(4):
        metrics = trainer.epoch()
        lives.append(layer.live)
        bits.append(metrics.sent_bits_fixed)
    assert lives == [8, 6, 3, 3]
    assert bits == [64 * math.log2(n) for n in lives]
    (shipped,) = codebooks_of(trainer.shipped.network)
    assert shipped.embedding.shape == (3, 8), "what is shipped has the living alone"
    assert layer.embedding.shape == (8, 8)
    assert shipped.link == layer.link == Link("psk", 20.0)
    assert trainer.method.measures(trainer.model)["codewords"] == 3


def test_the_rarest_go_and_statistics_do_not_move():
    books = [{"layer": "bn1", "codebook_size": 8, "prune_epochs": [0.5], "prune_ns": [3]}]
    trainer = tiny_trainer("codebook", epochs=2, codebooks=books)
    trainer.train_epoch()
    (layer,) = training_codebooks(trainer.model)
    batches = trainer._inputs(1, "epoch")
    counts = torch.zeros(8, dtype=torch.long)
    trainer.model.eval()
    with torch.no_grad():
        for batch in batches():
            z = trainer.model.conv1(batch)
            z = torch.nn.functional.batch_norm(
                z,
                trainer.model.bn1.running_mean,
                trainer.model.bn1.running_var,
                trainer.model.bn1.weight,
                trainer.model.bn1.bias,
            )
            counts += torch.bincount(layer.score(z.movedim(1, -1).reshape(-1, 8)).argmax(1), minlength=8)
    statistics = trainer.model.bn1.running_mean.clone()
    trainer.method.on_epoch(trainer.model, 0.5, batches)
    assert torch.equal(trainer.model.bn1.running_mean, statistics)
    assert set(torch.nonzero(~layer.alive).flatten().tolist()) == set(counts.argsort(stable=True)[:3].tolist())


@pytest.mark.slow
def test_a_trial_with_all_of_it_resumes_exactly(tmp_path):
    books = [
        {"layer": "bn1", "codebook_size": 8, "prune_epochs": [0.5], "prune_ns": [3]},
        {"layer": "conv2", "hidden_dim": 5, "codebook_size": 4},
    ]
    knobs = {"codebooks": books, "prune_channels": _channels(1, 2), "clean_weight": 0.5, "active": 1, "PSNR": 10.0}
    whole, resumed = tiny_trainer("codebook", **knobs), tiny_trainer("codebook", **knobs)
    whole.epoch()
    torch.save(whole.state(), tmp_path / "trial.pt")
    straight = whole.epoch()
    resumed.restore(torch.load(tmp_path / "trial.pt", weights_only=True))
    again = resumed.epoch()
    assert (straight.loss, straight.accuracy) == (again.loss, again.accuracy)
    assert whole.shipped.data == resumed.shipped.data


def test_alternatives_and_the_clean_path_all_learn():
    books = [{"layer": "bn1", "codebook_size": 8}, {"layer": "conv2", "codebook_size": 4}]
    trainer = tiny_trainer("codebook", codebooks=books, clean_weight=1.0, beta=0.1)
    before = [layer.embedding.detach().clone() for layer in training_codebooks(trainer.model)]
    inputs, labels = next(trainer._batches(0))
    torch.manual_seed(0)
    whole = float(trainer.step(inputs, labels, 0.0))
    for layer, held in zip(training_codebooks(trainer.model), before, strict=True):
        assert not torch.equal(layer.embedding.detach(), held)
    alone = tiny_trainer("codebook", codebooks=books[:1], beta=0.1)
    torch.manual_seed(0)
    assert whole > 1.2 * float(alone.step(inputs, labels, 0.0))


@pytest.mark.slow
def test_each_alternative_of_a_file_can_be_used():
    from compress.codebooks import use

    books = [{"layer": "bn1", "codebook_size": 8}, {"layer": "conv2", "codebook_size": 4}]
    trainer = tiny_trainer("codebook", codebooks=books)
    metrics = trainer.epoch()
    network = trainer.shipped.network
    assert evaluate(use(network, 0), trainer.validation) == metrics.accuracy
    other = evaluate(use(network, 1), trainer.validation)
    assert other > 0.2
    assert metrics.sent_bits_fixed == 64 * 3


@pytest.mark.slow
def test_a_larger_beta_sends_fewer_bits():
    bits = []
    for beta in (0.0, 1.0, 10.0):
        optimizer = {**OPTIMIZER, "codebook": {"lr": 2e-2}}
        recipe = Recipe(method="codebook", knobs={"beta": beta}, optimizer=optimizer, epochs=2, seed=3)
        trainer = Trainer(tiny_task(), recipe, tiny_start(), torch.device("cpu"))
        trainer.train_epoch()
        bits.append(trainer.epoch().sent_bits_coded)
    assert bits[0] > bits[1] > bits[2]
    assert bits[2] < 0.9 * bits[0], bits


# the file


def test_the_file_names_its_codebooks_and_gives_them_back(tmp_path):
    books = [{"layer": "bn1", "hidden_dim": 3, "codebook_size": 5}]
    trainer = tiny_trainer("codebook", codebooks=books, modulation="qam", PSNR=14.0)
    metrics = trainer.epoch()
    (entry,) = decode(trainer.shipped.data).card["codebooks"]
    assert sorted(entry.pop("common")) == list(range(5))
    assert entry == {
        "layer": "bn1",
        "codebook_size": 5,
        "hidden_dim": 3,
        "channels": 8,
        "scores": "distance",
        "modulation": "qam",
        "PSNR": 14.0,
    }
    path = tmp_path / "n.rf"
    path.write_bytes(trainer.shipped.data)
    loaded = load(path, lambda card: small_net())
    assert not any(isinstance(layer, TrainingCodebook) for layer in codebooks_of(loaded))
    assert evaluate(loaded, trainer.validation, 100) == evaluate(loaded, trainer.validation, 7) == metrics.accuracy


def test_more_noise_less_accuracy():
    trainer = tiny_trainer("codebook", codebooks=[{"layer": "bn1", "codebook_size": 16}], epochs=3)
    for _ in range(3):
        trainer.train_epoch()
    network = trainer.ship().network
    (layer,) = codebooks_of(network)
    found = []
    for psnr in (-10.0, 6.0, 30.0):
        layer.link = Link("psk", psnr)
        found.append(evaluate(network, trainer.validation))
    assert found[0] < found[1] < found[2]


@pytest.mark.slow
@pytest.mark.parametrize("norms", ["folded", "kept"])
@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_masked_channels_leave_the_file_and_the_outputs_stay(layer, norms, tmp_path):
    at = {"conv1": "conv2", "conv2": "bn1"}[layer]
    knobs = {"codebooks": [{"layer": at}], "prune_channels": _channels(2, 3, layer=layer), "norms": norms}
    trainer = tiny_trainer("codebook", store="float32", **knobs)
    first, second = trainer.epoch(), trainer.epoch()
    bare = tiny_trainer("codebook", codebooks=[{"layer": at}], store="float32", norms=norms).measure()
    assert second.parameters < first.parameters < bare.parameters
    assert second.macs < first.macs < bare.macs
    trainer.model.eval()
    with torch.no_grad():
        mine, theirs = trainer.model(_inputs(trainer)), trainer.shipped.network(_inputs(trainer))
    assert float((mine - theirs).abs().amax(1).median()) < 1e-4
    path = tmp_path / "n.rf"
    path.write_bytes(trainer.shipped.data)
    with torch.inference_mode():
        assert torch.equal(
            load(path, lambda card: small_net())(_inputs(trainer)), trainer.shipped.network(_inputs(trainer))
        )


@pytest.mark.parametrize("norms", ["folded", "kept"])
def test_masked_channels_of_a_residual_stream_leave_and_the_outputs_stay(norms):
    torch.manual_seed(0)
    network = build_network("resnet20", (3, 16, 16), 10, {"maps": 4})
    for norm in (m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        torch.nn.init.normal_(norm.bias)  # a channel masked before its norm would still give this
        torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
    batch = torch.randn(16, 3, 16, 16)
    method = Codebook(
        codebooks=[{"layer": "layer1[1]"}],
        prune_channels=_channels(2, layer="layer1[0].conv2"),
        store="float32",
        norms=norms,
    )
    method.prepare(network, lambda: iter([batch]))
    method.on_epoch(network, 0.0, lambda: iter([batch]))
    shipped = ship(
        method, network, lambda: build_network("resnet20", (3, 16, 16), 10, {"maps": 4}), {"input_shape": [3, 16, 16]}
    ).network
    assert shipped.get_submodule("layer1.0.conv2").weight.shape[0] == 2
    with torch.no_grad():
        mine, theirs = network.eval()(batch), shipped(batch)
    assert torch.allclose(mine, theirs, atol=1e-4)


# the device's half, and what it sends


@pytest.mark.parametrize("prune", [(), _channels(3, 3)])
def test_the_half_of_a_device_decodes_and_runs_alone(prune, tmp_path):
    trainer = tiny_trainer("codebook", codebooks=[{"layer": "conv2", "hidden_dim": 6}], prune_channels=prune)
    metrics = trainer.epoch()
    data = device_file(decode(trainer.shipped.data), small_net())
    assert len(data) < metrics.size
    path = tmp_path / "half.rf"
    path.write_bytes(data)
    half = load(path, lambda card: small_net())
    assert isinstance(half, DeviceHalf)
    assert not any("linear" in name for name in half.state_dict())
    x = _inputs(trainer)
    whole = device_half(trainer.shipped.network, x.shape[1:], keep=True)
    with torch.inference_mode():
        sent = half(x)
        assert torch.equal(sent, whole(x))
    assert sent.shape == (len(x), 4, 4)
    assert sum(p.numel() for p in half.parameters()) == metrics.parameters_device
    assert "linear.weight" in trainer.shipped.network.state_dict(), "the whole network has lost nothing"


def test_tensors_of_the_head():
    trainer = tiny_trainer("codebook", codebooks=[{"layer": "bn1"}])
    names = head_tensors(trainer.ship().network, (1, 8, 8))
    assert {n.partition(".")[0] for n in names} == {"conv1", "bn1"}
    assert "bn1.codebook0.embedding" in names


def test_a_file_without_codebooks_has_no_half():
    from compress.artifact import ArtifactError

    trainer = tiny_trainer("baseline")
    with pytest.raises(ArtifactError, match="names no codebooks"):
        device_file(trainer.ship().artifact, small_net())


def test_work_of_the_device_is_the_head_and_its_scores():
    trainer = tiny_trainer("codebook", codebooks=[{"layer": "bn1", "hidden_dim": 4, "codebook_size": 16}])
    metrics = trainer.measure()
    head, scores, encode, decode_ = 64 * 72, 64 * 16 * 4, 64 * 8 * 4, 64 * 4 * 8
    assert metrics.gops_device == pytest.approx(2e-9 * (head + encode + scores))
    dense = count_macs(small_net(), (1, 8, 8)).total
    assert metrics.macs == dense + encode + scores + decode_


def test_bits_are_those_of_coded_maps():
    trainer = tiny_trainer("codebook", coded_images=40)
    metrics = trainer.epoch()
    network = trainer.shipped.network
    half = device_half(network, (1, 8, 8), keep=True)
    (layer,) = codebooks_of(network)
    with torch.no_grad():
        maps = half(_inputs(trainer)[:40]).numpy()
    assert metrics.sent_bits_coded == np.mean(coded_bits(maps, layer.common))
    assert metrics.sent_bits_fixed == 64 * 4


def test_frequent_places_cost_less():
    rng = np.random.default_rng(0)
    maps = rng.choice(8, (20, 16, 16), p=[0.02, 0.02, 0.02, 0.02, 0.02, 0.8, 0.05, 0.05])
    by_use = [int(n) for n in np.argsort(-np.bincount(maps.reshape(-1), minlength=8), kind="stable")]
    assert sum(coded_bits(maps, by_use)) < 0.9 * sum(coded_bits(maps, by_use[::-1]))


# every network of row J6


@pytest.mark.parametrize(
    ("name", "side", "layer"),
    [
        *((f"resnet{n}", 16, "layer1") for n in (20, 32, 44, 56, 110)),
        pytest.param("resnet1202", 8, "layer1[3]", marks=pytest.mark.slow),
        ("resnet34", 64, "layer2"),
        *(pytest.param(f"resnet{n}", 64, "layer2", marks=pytest.mark.slow) for n in (50, 101, 152)),
    ],
)
def test_every_network_is_built_divided_and_takes_a_step(name, side, layer):
    torch.manual_seed(0)
    network = build_network(name, (3, side, side), 10, {})
    method = Codebook(codebooks=[{"layer": layer, "hidden_dim": 8, "codebook_size": 4}], PSNR=12.0)
    batch, labels = torch.randn(8, 3, side, side), torch.arange(8)
    method.prepare(network, lambda: iter([batch]))
    groups = method.parameter_groups(network)
    optimizer = torch.optim.Adam([{"params": p, "lr": 1e-3} for p in groups.values()])
    before = training_codebooks(network)[0].embedding.detach().clone()
    loss = method.loss(network.train(), network(batch), labels, torch.nn.functional.cross_entropy) + method.penalty(
        network
    )
    loss.backward()
    optimizer.step()
    assert math.isfinite(float(loss.detach()))
    assert not torch.equal(before, training_codebooks(network)[0].embedding.detach())
