"""One network to a file and back, without a search: `python examples/compress_once.py` (MNIST if it is there, else digits)."""

import torch

from compress import artifact, ship
from compress.methods.epr import Epr
from tasks import Part, TaskSpec, evaluate, load, open_task
from tasks.batches import training_batches
from tasks.downloads import data_root

data, epochs, strength = ("mnist", 10, 2.0) if (data_root() / "MNIST/raw").is_dir() else ("digits", 80, 1.0)
task, _ = open_task(TaskSpec(network="lenet300", data=data, start="scratch"), data_root())
train, test = (Part.of(part, task.data, torch.device("cpu")) for part in (task.data.train, task.data.test))
torch.manual_seed(0)
model, method = task.build(), Epr(lambda_RD=strength)
weights = sum(p.numel() for p in model.parameters())
method.prepare(model, lambda: iter(()))  # every weight is now a decoded integer
base, step, prior = method.parameter_groups(model).values()
optimizer = torch.optim.Adam([{"params": base + step}, {"params": prior, "lr": 2e-2}], lr=2e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
for epoch in range(epochs):
    method.on_epoch(model, epoch / epochs, lambda: iter(()))  # lambda_RD warms up
    for inputs, labels in training_batches(train, task.data, 128, None, (0, epoch)):
        optimizer.zero_grad()
        (task.loss(model(inputs), labels) + method.penalty(model)).backward()
        optimizer.step()
    schedule.step()
artifact.save("network.rf", file := ship(method, model, task.build, task.card()).data)
error = 1 - evaluate(load("network.rf"), test)
print(f"{data}: test error {error:.2%}, {len(file)} bytes, {4 * weights / len(file):.0f} times smaller than float32")
