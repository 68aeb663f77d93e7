"""A repository of somebody's own, whose network takes as long as a test wants."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

NET = """
from torch import nn, ones

class Net(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.head = nn.Linear(3 * 64, num_classes)

    def forward(self, x):
        for _ in range({products}):
            ones({width}, {width}) @ ones({width}, {width})
        return self.head(x.flatten(1))
"""


def commit(folder: Path, *revisions: Mapping[str, str]) -> None:
    """Make a folder a repository with these revisions: what is in each file that changes."""
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    for number, files in enumerate(revisions):
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", str(number)], check=True)
