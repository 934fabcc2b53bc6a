"""Objects of Kubernetes: the spec, a volume for the state, and CronJobs."""

from __future__ import annotations

from typing import Any

from engine.schedule.cover import Cover, in_own_zone, in_utc, is_even, merged
from engine.schedule.when import Schedule

from .installation import File, Installation
from .times import cron_line, hull
from .yamltext import yaml_text

_SECRET = "rebatch"  # noqa: S105 - the name of one
_HOME = "/var/lib/rebatch"
_SPECS = "/etc/rebatch"
_USER = 10001
_PERSON = [2, 3, 4, 5]  # exit codes that need one: spec, items that failed, key, guard
_LONGEST_S = 43_200
_MISSED = 90  # Kubernetes counts up to 100 starts that it missed, and then may give up


def kubernetes(installation: Installation, now: float) -> list[File]:
    """The manifest; `now` is in seconds since the epoch."""
    name = f"rebatch-{installation.name}"
    covers = merged(_cover(schedule, now) for schedule in installation.schedules)
    names = [name if number == 1 else f"{name}-{number}" for number in range(1, len(covers) + 1)]
    documents = [
        _object("v1", "ConfigMap", name, data={_file(installation): installation.text}),
        _object("v1", "PersistentVolumeClaim", name, spec=_claim()),
        *(
            _object("batch/v1", "CronJob", each, spec=_cron_job(installation, cover, name))
            for each, cover in zip(names, covers, strict=True)
        ),
    ]
    text = yaml_text(documents, _comments(installation, name))
    return [File(f"{name}.yaml", text, f"kubectl apply -f {name}.yaml")]


def _comments(installation: Installation, name: str) -> list[str]:
    secret = f"kubectl create secret generic {_SECRET} --from-env-file=FILE, with the lines"
    files = [*installation.read, *installation.written]
    return [
        f"Looks what is due by the schedules of {installation.spec.name}. From rebatch {installation.version}.",
        f"Needs a secret: {secret} {', '.join(f'{each}=…' for each in installation.variables)}",
        "Start it once now, since schedules count from the first time:",
        f"kubectl create job --from=cronjob/{name} {name}-first",
        *([f"Files of the spec are on the volume, below {_HOME}: {', '.join(files)}"] if files else []),
    ]


def _cover(schedule: Schedule, now: float) -> Cover:
    """In its own zone where Kubernetes can count in it, else in UTC.

    Its cron library goes on from midnight hour by hour: it passes over a day that has no midnight, and over whatever
    comes after a change that is not by whole hours, until the next day.
    """
    return in_own_zone(schedule, now) if is_even(schedule, now) else in_utc(schedule, now)


def _cron_job(installation: Installation, cover: Cover, name: str) -> dict[str, Any]:
    rectangle = hull(cover.times)
    return {
        "schedule": cron_line(rectangle, cover.days),
        "timeZone": "Etc/UTC" if cover.zone == "UTC" else cover.zone,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": _deadline_s(rectangle[1]),
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 3,
        "jobTemplate": {"spec": {**_again(), "template": {"spec": _pod(installation, name)}}},
    }


def _deadline_s(minutes: frozenset[int]) -> int:
    """How late it may still be started: up to half a day, but not so many starts that Kubernetes gives up counting."""
    around = sorted(minutes)
    closest = min(later - earlier for earlier, later in zip(around, [*around[1:], around[0] + 60], strict=True))
    return min(_LONGEST_S, _MISSED * closest * 60)


def _again() -> dict[str, Any]:
    """What was interrupted is started again, up to six times; what needs a person is not: the failure shall be seen."""
    return {
        "backoffLimit": 6,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": {"operator": "In", "values": _PERSON}},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
    }


def _pod(installation: Installation, name: str) -> dict[str, Any]:
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": installation.drain_s,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(installation)],
        "volumes": [
            {"name": "spec", "configMap": {"name": name}},
            {"name": "state", "persistentVolumeClaim": {"claimName": name}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def _container(installation: Installation) -> dict[str, Any]:
    return {
        "name": "rebatch",
        "image": installation.image,
        "command": [_plain(word) for word in installation.words("rebatch", f"{_SPECS}/{_file(installation)}")],
        "workingDir": _HOME,
        "env": [
            *(
                {"name": each, "valueFrom": {"secretKeyRef": {"name": _SECRET, "key": each}}}
                for each in installation.variables
            ),
            {"name": "REBATCH_STATE_DIR", "value": f"{_HOME}/state"},
            {"name": "HOME", "value": _HOME},
        ],
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "spec", "mountPath": _SPECS, "readOnly": True},
            {"name": "state", "mountPath": _HOME},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - of the container
        ],
    }


def _claim() -> dict[str, Any]:
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}


def _object(version: str, kind: str, name: str, **more: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "rebatch", "app.kubernetes.io/instance": name}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}, **more}


def _file(installation: Installation) -> str:
    """The name of the spec's file, which a ConfigMap restricts."""
    return f"{installation.name}.yaml"


def _plain(word: str) -> str:
    """A word in which Kubernetes finds no variable of its own."""
    return word.replace("$(", "$$(")
