"""``podyard fsck``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from podyard.cli import output
from podyard.cli.endpoint import with_client
from podyard.cli.settings import Settings, output_options
from podyard.errors import DataLoss

if TYPE_CHECKING:
    from podyard.client import Client
    from podyard.cri import admin


@click.command()
@click.option("--repair", is_flag=True, help="Fetch again what is wrong, by the image's names with a digest.")
@output_options
@with_client
async def command(client: Client, settings: Settings, repair: bool) -> None:
    """Compare all images with their digests: manifests, configurations, and each file of each layer.

    It reads all layers, and fails with exit code 11 when something is wrong and not repaired. JSON and YAML: {images,
    layers, documents, findings: [{kind, name, text, note, repaired}]}.
    """
    report = await client.admin.check_images(repair=repair)
    wrong = [finding for finding in report.findings if not (finding.note or finding.repaired)]
    if settings.output in {"json", "yaml"}:
        output.show_data(output.as_data(report), settings.output)
    elif settings.quiet or settings.output == "name":
        for name in dict.fromkeys(finding.name for finding in wrong):
            print(name)
    else:
        for finding in report.findings:
            name = output.short_id(finding.name, settings)
            print(f"{_state(finding)}: {finding.kind} {name}: {output.printable(finding.text)}")
        print(f"compared {report.images} images: {report.layers} layers and {report.documents} documents")
    if wrong:
        advice = "" if repair else '; "podyard fsck --repair" fetches again what it can'
        raise DataLoss(f"{len(wrong)} problems{advice}")


def _state(finding: admin.Finding) -> str:
    if finding.repaired:
        return "repaired"
    return "note" if finding.note else "wrong"
