"""What tests of `init` have in common: numbers for lists, and what a config sends."""

from typing import Any

from importer.config import Config


def us(count: int, start: int = 100) -> list[str]:
    return [f"(212) 555-{number:04d}" for number in range(start, start + count)]


def german(count: int, start: int = 0) -> list[str]:
    return [f"030 23125 {number:03d}" for number in range(start, start + count)]


def variables(config: Config) -> dict[str, Any]:
    return {name: one.model_dump(exclude_defaults=True) for name, one in config.variables.items()}
