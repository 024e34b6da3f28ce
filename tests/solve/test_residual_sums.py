"""The last layer of a residual branch makes up for what the shortcut has lost."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import secateur as sc
from secateur.core.layout import along
from secateur.core.types import Member, Target
from secateur.engine.collect import collect


class Branch(nn.Module):
    """relu(norm(b(relu(a(x)))) + x), in one of the forms that people write it in."""

    def __init__(self, form="plain"):
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)
        self.norm, self.drop, self.form = nn.BatchNorm2d(4), nn.Dropout(0.5), form

    def forward(self, x):
        y = self.norm(self.b(F.relu(self.a(x))))
        if self.form == "in place":
            y += x
        elif self.form == "dropout":
            y = torch.add(x, self.drop(y))
        elif self.form == "activated":
            y = F.relu(y) + x
        elif self.form == "weighted":
            y = torch.add(x, y, alpha=0.5)
        else:
            y = y + x
        return F.relu(y)


X = torch.randn(12, 4, 5, 5, generator=torch.Generator().manual_seed(1)).double()
DATA = [(part, torch.zeros(len(part))) for part in X.split(5)]


def net(form="plain"):
    torch.manual_seed(0)
    made = nn.Sequential(Branch(form), Branch(form), nn.Conv2d(4, 2, 3)).double()
    for branch in made[:2]:
        branch.norm.weight.data.uniform_(-2, 2)
        branch.norm.running_var.uniform_(0.5, 3)
    return made.eval()


def windows(x):
    """[rows, in * kernel] of a 3 x 3 convolution with padding 1."""
    return F.unfold(x, 3, padding=1).transpose(1, 2).flatten(0, 1)


def rows(x):
    """[n, channels, h, w] -> [rows, channels]."""
    return x.movedim(1, -1).flatten(0, 2)


def factor(norm):
    return norm.weight / (norm.running_var + norm.eps).sqrt()


def test_the_second_branch_is_fitted_so_that_its_sum_comes_out_as_it_was():
    dense = net()
    recipe = sc.recipe("channel-lasso", density=0.5)
    pruned = sc.prune(dense, recipe, data=DATA, example=X[:2], trained=True).model
    with torch.no_grad():
        x, lost = pruned[0](X), dense[0](X)
        before, after = dense[1], pruned[1]
        kept = after.a.weight.flatten(1).any(1)
        columns = kept.repeat_interleave(9)
        y = windows(F.relu(before.a(lost))) @ before.b.weight.flatten(1).T
        wanted = y + rows(lost - x) / factor(before.norm)
        hidden = windows(F.relu(after.a(x)))[:, columns]
        fit = torch.linalg.lstsq(hidden, wanted).solution.T
        found = after.b.weight.flatten(1)[:, columns]
        best, got = ((hidden @ w.T - wanted).square().mean() for w in (fit, found))
    assert kept.sum() == 3
    assert float(got) < float(best) * (1 + 1e-4)


def sums(model):
    """What the two branches put out before the last activation, of a plain net."""
    found = []
    with torch.no_grad():
        x = X
        for branch in model[:2]:
            found.append(branch.norm(branch.b(F.relu(branch.a(x)))) + x)
            x = F.relu(found[-1])
    return found


def test_the_sum_is_nearer_than_without():
    dense, errors = net(), []
    for residual in (True, False):
        recipe = sc.recipe("channel-lasso", density=0.5, residual=residual)
        pruned = sc.prune(dense, recipe, data=DATA, example=X[:2], trained=True).model
        errors.append(float(F.mse_loss(sums(pruned)[1], sums(dense)[1])))
    assert errors[0] < 0.95 * errors[1]


TARGET = Target(
    "1.a", "channels", (6,),
    (Member("1.a.weight", along((6, 4, 3, 3), 0)), Member("1.b.weight", along((4, 6, 3, 3), 1), reads=1)),
)  # fmt: skip


def crosses(dense, now):
    args = (["sum_cross", "output_cross"], [TARGET], DATA)
    found = collect(now, *args, batch_statistics=False, reference=dense)
    return found["sum_cross"]["1.b.weight"], found["output_cross"]["1.b.weight"]


@pytest.mark.parametrize("form", ["plain", "in place", "dropout", "activated", "weighted"])
def test_the_forms_of_a_sum(form):
    """Through an activation or with a weight nothing can be made up for exactly, and nothing is."""
    dense, now = net(form), net(form)
    now[0].b.weight.data *= 0.7
    with torch.no_grad():
        lost = rows(dense[0](X) - now[0](X)) / factor(now[1].norm)
        x = windows(F.relu(now[1].a(now[0](X))))
        extra = lost.T @ x / len(x)
    found, plain = crosses(dense, now)
    expected = plain if form in ("activated", "weighted") else plain + extra
    assert torch.allclose(found, expected)
    assert not torch.allclose(plain, plain + extra)


def test_what_a_norm_cuts_off_is_not_aimed_at_and_without_a_reference_nothing_is_lost():
    dense, now = net(), net()
    now[0].b.weight.data *= 0.7
    for model in (dense, now):
        model[1].norm.weight.data[2] = 0
    found, plain = crosses(dense, now)
    assert torch.equal(found[2], plain[2])
    assert not torch.allclose(found[1], plain[1])
    same, alone = crosses(None, now)
    assert torch.equal(same, alone)


def test_tokens_beside_padding_and_layers_called_twice():
    """x + fc(x) twice with the same layer; a token that is padding counts in neither call."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.fc = nn.Linear(3, 5), nn.Linear(5, 3)

        def forward(self, input_ids, attention_mask):
            x = self.start[input_ids]
            for _ in range(2):
                x = x + self.fc(torch.tanh(self.up(x)))
            return x

    torch.manual_seed(0)
    dense, now = Twice().double(), Twice().double()
    now.load_state_dict(dense.state_dict())
    dense.start = torch.randn(7, 3).double()
    now.start = dense.start * 0.8
    ids = torch.tensor([[1, 2, 3], [4, 5, 0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    members = (
        Member("up.weight", along((5, 3), 0)),
        Member("fc.weight", along((3, 5), 1), reads=1),
    )
    target = Target("up", "neurons", (5,), members)
    batch = {"input_ids": ids, "attention_mask": mask}
    found = collect(now, ["sum_cross"], [target], [batch], reference=dense)["sum_cross"]

    def states(model):
        x, out = model.start[ids], []
        for _ in range(2):
            hidden = torch.tanh(model.up(x))
            out.append((x[mask.bool()], hidden[mask.bool()]))
            x = x + model.fc(hidden)
        return out

    total = 0
    for (e, h), (e_now, h_now) in zip(states(dense), states(now), strict=True):
        total = total + (h @ dense.fc.weight.T + e - e_now).T @ h_now
    assert torch.allclose(found["fc.weight"], total / 10)
