"""The catalogue, as one officer may learn it. Pure.

Every member may know what the providers list, and on what terms; that is what a catalogue is for
(Decree 809). A resource that is `listed` for those with a grant is shown to those alone. What a
grant says is shown only where it is for this caller: purposes and fields he may ask for.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

from sharegate.authorize.roles import Classes, Posts
from sharegate.authorize.ruleset import RuleSet
from sharegate.model.catalogue import Field, Listed, Resource, SharingClass
from sharegate.model.grant import ANY, Effect, Grant
from sharegate.model.party import Caller

Json = dict[str, object]
_MOST_KEPT: Final = 20_000
_SHARED: Final = frozenset({SharingClass.UNCONDITIONAL, SharingClass.CONDITIONAL})


class Listing:
    """The catalogue of one rule set, for whoever asks.

    Grants are sorted by whom they are for once, when the rules are loaded, and what was told to
    one officer is kept for his next question: to walk through a hundred thousand each time would
    hold everybody else's up.
    """

    def __init__(self, rule_set: RuleSet) -> None:
        self._rule_set = rule_set
        self._classes = Classes(rule_set.departments)
        self._posts = Posts(rule_set.posts)
        self._for: dict[str, list[Grant]] = {}
        for grant in rule_set.grants:
            if grant.effect is Effect.ALLOW:
                self._for.setdefault(grant.consumer, []).append(grant)
        # When some grant begins or ends; what was told before that holds until then.
        self._turns = sorted(
            {each.valid_from for each in rule_set.grants}
            | {each.valid_until for each in rule_set.grants}
        )
        self._told: dict[tuple[str, str, int], Json] = {}
        self._kept = 0  # grants and resources in all that was told

    def __call__(self, caller: Caller, at: int) -> Json:
        """What the providers list, as the JSON document that `GET /v1/catalogue` answers with.

        Args:
            caller: Who wants to know.
            at: Milliseconds of Unix time; only grants valid then count.
        """
        turn = bisect_right(self._turns, at)
        asker = caller.consumer, self._posts.officer(caller.posts), turn
        told = self._told.get(asker)
        if told is None:
            grants = list(self._of(caller, at))
            size = len(grants) + len(self._rule_set.catalogue.resources)
            self._kept += size
            if self._kept > _MOST_KEPT:
                self._told.clear()
                self._kept = size
            self._told[asker] = told = self._document(grants)
        return told

    def _document(self, own_grants: Iterable[Grant]) -> Json:
        rule_set = self._rule_set
        grants: dict[tuple[str, str], list[Grant]] = {}
        for grant in own_grants:
            grants.setdefault((grant.provider, grant.resource), []).append(grant)
        shown = []
        for key, resource in sorted(rule_set.catalogue.resources.items()):
            own = grants.get(key, [])
            if resource.listed is Listed.MEMBERS or own:
                shown.append(_resource(rule_set, resource, own))
        return {"rule_set": rule_set.hash, "resources": shown}

    def _of(self, caller: Caller, at: int) -> Iterator[Grant]:
        """The grants that are for this officer now."""
        officer = self._posts.officer(caller.posts)
        for name in (ANY, *self._classes.of(caller.consumer)):
            for grant in self._for.get(name, ()):
                if grant.valid_from <= at < grant.valid_until and (
                    ANY in grant.posts
                    or any(self._posts.has_link(officer, post) for post in grant.posts)
                ):
                    yield grant


def _resource(rule_set: RuleSet, resource: Resource, grants: list[Grant]) -> Json:
    said: Json = {
        "provider": resource.provider,
        "id": resource.id,
        "version": resource.version,
        "name_zh": resource.name_zh,
        "name_en": resource.name_en,
        "sharing_class": resource.sharing_class,
        "legal_ground": resource.legal_ground,
        "modes": sorted(resource.modes),
        "row_limit": resource.row_limit,
        "onward_sharing": resource.onward,
        "fields": [_field(field) for field in resource.fields.values()],
    }
    if resource.update_frequency is not None:
        said["update_frequency"] = resource.update_frequency
    if resource.joint_owners:
        said["joint_owners"] = list(resource.joint_owners)
    if resource.sharing_class in _SHARED:
        said["purposes"] = _purposes(rule_set, grants)
        said["grants"] = [_grant(grant) for grant in sorted(grants, key=lambda grant: grant.id)]
    else:
        said["not_shared_reason"] = resource.not_shared_reason
    return said


def _field(field: Field) -> Json:
    return {
        "name": field.name,
        "name_zh": field.name_zh,
        "type": field.type,
        "sensitivity": field.sensitivity,
        "mask": field.mask,
        "key": field.key,
    }


def _purposes(rule_set: RuleSet, grants: list[Grant]) -> list[Json]:
    """The purposes accepted from this caller, each with the norms that allow it."""
    known = rule_set.catalogue.purposes
    accepted = {
        code for grant in grants for code in (known if ANY in grant.purposes else grant.purposes)
    }
    return [
        {
            "code": code,
            "name_zh": known[code].name_zh,
            "name_en": known[code].name_en,
            "legal_bases": dict(sorted(known[code].legal_bases.items())),
        }
        for code in sorted(accepted)
    ]


def _grant(grant: Grant) -> Json:
    said: Json = {
        "id": grant.id,
        "fields": list(grant.fields),
        "row_limit": grant.row_limit,
        "assurance": grant.assurance,
    }
    optional: Json = {
        "masks": dict(sorted(grant.masks.items())),
        "quota": [f"{q.per}/{q.period}={q.most}" for q in grant.quota],
        "refer": grant.refer,
        "consent": grant.consent,
        "matter": grant.matter,
    }
    return said | {name: value for name, value in optional.items() if value}
