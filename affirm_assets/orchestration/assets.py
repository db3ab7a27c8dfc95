"""A dataset as a Dagster asset with its checks, and a feed as an external asset."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

import affirm_assets
import resources
from affirm_assets.declare.contract import Contract, columns
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import Landing
from affirm_assets.declare.partitions import Daily
from affirm_assets.declare.registry import Registry
from affirm_assets.orchestration.checks import check_events, check_specs, failure_of
from affirm_assets.orchestration.code_version import code_version
from affirm_assets.orchestration.compute import op_tags, profile_of
from affirm_assets.orchestration.engines import StepEngines, StepSpark
from affirm_assets.orchestration.execution import step_failures
from affirm_assets.orchestration.partitions import PartitionSets, asset_key, dependencies, feed_key, step_key, window_of
from affirm_assets.orchestration.report import materialization, partition_metadata
from affirm_assets.orchestration.standing_checks import not_evaluated, standing_check_specs
from affirm_assets.settings import Settings
from affirm_assets.steps.acceptance import TAG, Refuser, acceptances
from affirm_assets.steps.audits_failed import AuditsFailed
from affirm_assets.steps.closed import TAG as RESTATEMENT_TAG
from affirm_assets.steps.request import RESULT_SETTINGS, Run
from affirm_assets.steps.run import run_step
from affirm_assets.steps.storage import LandingZone, Storage
from resources import landing
from resources.compute import Profile
from resources.iceberg import IcebergCatalog
from resources.sail import SailSessions


def assets(
    registry: Registry, partition_sets: PartitionSets, settings: Settings, retries: dg.RetryPolicy | None
) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """Every dataset of the registry and every feed that one of them reads. `retries`: of a step that failed."""
    return [
        *(_feed(name, partition_sets) for name in registry.feeds),
        *(_asset(each, registry.datasets, partition_sets, settings, retries) for each in registry.in_order()),
    ]


def code_versions(made: Iterable[dg.AssetsDefinition | dg.AssetSpec]) -> Mapping[str, str]:
    """Of each dataset, by its name."""
    specs = [spec for each in made if isinstance(each, dg.AssetsDefinition) for spec in each.specs]
    return {spec.key.path[-1]: spec.code_version or "" for spec in specs}


def column_schema(contract: type[Contract]) -> dg.TableSchema:
    """The contract as Dagster's UI shows it."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=spec.name,
                type=str(spec.iceberg_type),
                description=spec.doc,
                constraints=dg.TableColumnConstraints(
                    nullable=not spec.required,
                    other=[*(["key"] if spec.is_key else []), *(r.description for r in spec.rules)],
                ),
                tags={"pii": spec.pii} if spec.pii else None,
            )
            for spec in columns(contract)
        ]
    )


def _feed(name: str, partition_sets: PartitionSets) -> dg.AssetSpec:
    return dg.AssetSpec(
        feed_key(name),
        description=f"Files that arrive in landing/{name}/<YYYY-MM-DD>/. A folder counts once _SUCCESS is there.",
        group_name="landing",
        kinds={"file"},
        partitions_def=partition_sets.of(Daily("business_date")),
    )


def _asset(
    dataset: Dataset,
    datasets: Mapping[str, Dataset],
    partition_sets: PartitionSets,
    settings: Settings,
    retries: dg.RetryPolicy | None,
) -> dg.AssetsDefinition:
    version, profile = code_version_of(dataset), profile_of(dataset, settings.engines.native)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # of checks by partition
        checks = [*check_specs(dataset, partition_sets.of(dataset.partitions))]

    @dg.multi_asset(
        name=step_key(dataset),
        specs=[_spec(dataset, datasets, partition_sets, version, profile)],
        check_specs=[*checks, *standing_check_specs(dataset)],
        backfill_policy=_backfill_policy(dataset),
        retry_policy=retries,
        pool=_pool(dataset),
        op_tags=op_tags(profile, settings.cpu_request_scale),
        # By name: Dagster looks at the signature of each step some twenty times, and at each parameter of it.
        required_resource_keys={"catalog", "spark", "sail", "landing_zone"},
    )
    def step(context: dg.AssetExecutionContext) -> Iterator[Any]:
        catalog: IcebergCatalog = context.resources.catalog
        spark: StepSpark = context.resources.spark
        sail: SailSessions = context.resources.sail
        landing_zone: LandingZone = context.resources.landing_zone
        conf = {**catalog.spark_conf(), **RESULT_SETTINGS}
        engines = StepEngines(spark, conf, catalog.name, sail, profile, settings.engines)
        window = window_of(dataset, context)
        try:
            with step_failures(), catalog.load() as loaded:
                run = _run(context, datasets, settings.restatement)
                storage = Storage(loaded, landing_zone, catalog.name)
                result = run_step(dataset, datasets, window, run, version, storage, engines)
        except AuditsFailed as failure:
            yield from check_events(dataset, window, failure.outcomes, _check_outputs(context))
            # Bad data does not get better by waiting.
            raise failure_of(failure) from None  # the cause's text is the same
        for key, metadata in partition_metadata(dataset, result, engines.metadata):
            context.add_asset_metadata(metadata, asset_key=asset_key(dataset), partition_key=key)
        # Before the checks: one that is older than its partition's materialization counts for nothing.
        yield materialization(dataset, result, engines.metadata)
        yield from check_events(dataset, window, result.outcomes, _check_outputs(context))
        yield from not_evaluated(context, dataset)

    return step


def _spec(
    dataset: Dataset, datasets: Mapping[str, Dataset], partition_sets: PartitionSets, version: str, profile: Profile
) -> dg.AssetSpec:
    return dg.AssetSpec(
        asset_key(dataset),
        deps=dependencies(dataset, datasets),
        description=dataset.description,
        group_name=dataset.domain,
        owners=[dataset.owner],
        kinds={"iceberg"},
        code_version=version,
        tags={**dataset.tags, "compute": dataset.compute.profile},
        metadata={
            "dagster/column_schema": column_schema(dataset.contract),
            "dagster/table_name": dataset.table,
            "dagster/storage_kind": "iceberg",
            "contract": dataset.contract.__name__,
            "compute": profile.text,
        },
        partitions_def=partition_sets.of(dataset.partitions),
    )


def _check_outputs(context: dg.AssetExecutionContext) -> dict[str, str]:
    """By check: the step's output that stands for it."""
    definition = context.assets_def
    return {key.name: definition.get_output_name_for_asset_check_key(key) for key in definition.check_keys}


def _run(context: dg.AssetExecutionContext, datasets: Mapping[str, Dataset], restatement: str) -> Run:
    """Who asks, with all that it computes. A run from the failure of another computes less than its job has.

    `restatement`: the one that a run without its tag carries.
    """
    run = context.run
    steps = {*(run.step_keys_to_execute or (each.name for each in context.job_def.nodes))}
    computed = sorted(name for name, each in datasets.items() if step_key(each) in steps)
    accepts = acceptances(run.tags.get(TAG, ""))
    for each in accepts:
        Refuser.of(datasets, each.feed)  # a feed that there is
    carried = run.tags.get(RESTATEMENT_TAG) or restatement
    return Run(run.run_id, run.root_run_id or run.run_id, tuple(computed), accepts, carried)


def _pool(dataset: Dataset) -> str | None:
    """A queue of its own, where the instance limits pools, for a dataset that reads itself.

    Two runs of it at once would overtake each other.
    """
    tables = [each for each in dataset.leaves.values() if not isinstance(each, Landing)]
    reads_itself = any(each.dataset == dataset.name for each in tables)
    return dataset.table.replace(".", "_") if reads_itself else None


_PACKAGES = {each.__name__: Path(str(each.__file__)).parents[1] for each in (affirm_assets, resources)}


def code_version_of(dataset: Dataset) -> str:
    """Over this project's packages and, for a dataset of another one, that too."""
    module = dataset.function.__module__
    packages = {module.partition(".")[0]: dataset.source.parents[module.count(".")], **_PACKAGES}
    # What a landing dataset holds is the parser's work, though it imports none.
    return code_version(packages, module, *([landing.__name__] if dataset.feeds else []))


_IN_ONE_RUN, _ONE_BY_ONE = dg.BackfillPolicy.single_run(), dg.BackfillPolicy.multi_run()


def _backfill_policy(dataset: Dataset) -> dg.BackfillPolicy | None:
    if dataset.partitions is None:
        return None
    return _IN_ONE_RUN if dataset.ranges else _ONE_BY_ONE
