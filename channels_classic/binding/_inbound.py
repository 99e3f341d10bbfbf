"""Values that clients send, converted and validated by the fields of a model. Nothing is saved here.

Django's deserializers are not used: they are for fixtures, which are trusted. They look rows up by natural keys, set
primary keys, and save without validation and without the model's `save`.

A value that a client gets wrong raises `ValidationError`, with the name of its field.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Callable
from datetime import datetime, time, timezone
from decimal import Context, Decimal, InvalidOperation
from numbers import Number
from typing import Any, NoReturn

from django.conf import settings
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models.fields.files import FieldFile
from django.forms.utils import from_current_timezone
from django.utils.timezone import is_aware, make_naive


def decode(text: Any) -> dict[str, Any]:
    """Return the object that a JSON text contains. Infinite numbers and NaN are refused: browsers cannot parse them."""
    try:
        body = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(f"The frame is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise ValidationError('Expected {"action": …, "pk": …, "data": …}.')
    return body


def canonical_pk(model: Any, value: Any) -> Any:
    """Return a primary key in the form that outbound messages have, so that each row has one spelling."""
    return json.loads(json.dumps(pk_to_json(to_pk(model, value)), cls=DjangoJSONEncoder))


def pk_to_json(value: Any) -> Any:
    """Return a primary key as `DjangoJSONEncoder` can encode it: bytes as Base64, as in the fields of a row.

    That encoder cuts microseconds off, so that the key could be that of another row.
    """
    if isinstance(value, tuple):
        return [pk_to_json(part) for part in value]
    if isinstance(value, FieldFile):
        return value.name
    if isinstance(value, datetime | time) and value.microsecond % 1000:
        return value.isoformat()
    return b64encode(value).decode() if isinstance(value, bytes | bytearray | memoryview) else value


def to_pk(model: Any, value: Any) -> Any:
    """Return a primary key in the form that instances of the model have."""
    field = model._meta.pk
    try:
        if not isinstance(field, models.CompositePrimaryKey):
            return _to_key(field, value)
        if isinstance(value, list | tuple) and len(value) == len(field):
            return tuple(_to_key(part, given) for part, given in zip(field, value, strict=True))
    except ValidationError as error:
        raise ValidationError({"pk": error.messages}) from None
    raise ValidationError({"pk": f"Expected a list of {len(field)} values."})


class InboundChange:
    """The values of an inbound change, for fields whose name `is_allowed` accepts.

    Other fields are ignored, so that clients may send back what they received. Unknown names are refused.
    """

    def __init__(self, model: Any, data: Any, is_allowed: Callable[[str], bool]) -> None:
        if not isinstance(data, dict):
            raise ValidationError(f"The data is of type {type(data).__name__}: expected an object of field to value.")
        self._given: dict[Any, Any] = {}
        for name, value in data.items():
            field = _field(model, name)
            if is_allowed(field.name):
                self._given[field] = value

    def apply(self, instance: models.Model, database: str) -> dict[str, list[models.Model]]:
        """Set the values on an instance and validate it. Return the rows for its many-to-many fields, by name.

        Fields that the client did not send keep their value or default and are not validated.
        """
        given = {field: value for field, value in self._given.items() if _is_settable(field, instance._state.adding)}
        errors: dict[str, list[str]] = {}
        related: dict[str, list[models.Model]] = {}
        for field, value in given.items():
            try:
                if isinstance(field, models.ManyToManyField):
                    related[field.name] = _rows(field, value, database)
                else:
                    setattr(instance, field.attname, _to_value(field, value))
            except ValidationError as error:
                errors[field.name] = error.messages
        if errors:
            raise ValidationError(errors)
        names = {field.name for field in given}
        instance.full_clean(exclude={field.name for field in instance._meta.fields if field.name not in names})
        return related


def _field(model: Any, name: str) -> Any:
    try:
        return model._meta.get_field(name)
    except FieldDoesNotExist as error:
        raise ValidationError(str(error)) from None


def _is_settable(field: Any, is_new: bool) -> bool:
    """Return whether clients can set the field at all.

    They cannot set reverse relations, nor fields that the database or the model sets. A link to a parent would add
    this child to the row of another instance. The name of a file decides which file is read or deleted. A primary key
    without a default can be set on a new row; on an existing one it would make `save` write to another row.
    """
    if isinstance(field, models.ManyToManyField):
        return True
    if not isinstance(field, models.Field) or not field.concrete or isinstance(field, models.FileField):
        return False
    if field.generated or getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
        return False
    if field.remote_field is not None and getattr(field.remote_field, "parent_link", False):
        return False
    if field.primary_key or field in field.model._meta.pk_fields:
        return is_new and not isinstance(field, models.AutoField) and not _has_default(field)
    return True


def _has_default(field: Any) -> bool:
    return bool(field.has_default() or field.has_db_default())


def _to_value(field: Any, value: Any) -> Any:
    if field.remote_field is not None and value is not None:
        return _to_key(field, value)
    converted = _convert(field, value)
    if isinstance(value, list | dict) and isinstance(converted, str | Number):
        _refuse(value)
    return _in_time_zone(converted)


def _in_time_zone(value: Any) -> Any:
    """Return a time as the project stores it; any other value unchanged."""
    if not isinstance(value, datetime):
        return value
    if settings.USE_TZ:
        return from_current_timezone(value)
    return make_naive(value) if is_aware(value) else value


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        raise ValidationError("This time is outside of the years 1 to 9999.") from None


def _with_places(field: Any, number: Decimal) -> Decimal:
    """Return a number with the decimal places of its field: `1.1` and `1.10` are one key."""
    try:
        rounded = number.quantize(Decimal(1).scaleb(-field.decimal_places), context=Context(field.max_digits))
    except InvalidOperation:
        rounded = None
    if rounded is None or rounded != number:
        raise ValidationError("The number has too many digits.")
    return rounded or abs(rounded)  # not -0


def _to_key(field: Any, value: Any) -> Any:
    """Return a key, in the one form in which the database has it.

    Booleans are refused, which Python would convert to integers.
    """
    if isinstance(value, bool | list | dict | None) or value == "":
        _refuse(value)
    while field.remote_field is not None:
        field = field.target_field
    key = _in_time_zone(_convert(field, value))
    if isinstance(key, datetime) and settings.USE_TZ:
        return _in_utc(key)
    if isinstance(key, Decimal):
        return _with_places(field, key)
    return key + 0.0 if isinstance(key, float) else key  # not -0.0


def _convert(field: Any, value: Any) -> Any:
    """Return the value in the form that instances have. Fields raise various errors for an unexpected type."""
    if isinstance(field, models.BinaryField | models.FileField) and not isinstance(value, str | None):
        _refuse(value)
    try:
        converted = field.to_python(value)
        if isinstance(converted, str):
            converted.encode()  # databases do not store half of a surrogate pair
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        _refuse(value)
    if isinstance(converted, str) and "\0" in converted:
        raise ValidationError("Null characters are not allowed.")
    if isinstance(converted, float) and not math.isfinite(converted):
        raise ValidationError("The number is not finite.")
    if isinstance(value, float) and isinstance(converted, int) and value != converted:
        raise ValidationError("The number is not an integer.")
    return converted


def _rows(field: Any, value: Any, database: str) -> list[models.Model]:
    """Return the rows with the primary keys in a list."""
    if not field.remote_field.through._meta.auto_created:
        through = field.remote_field.through._meta.label
        raise ValidationError(f"This relation has a model of its own: change {through} instead.")
    if not isinstance(value, list):
        _refuse(value)
    target = field.remote_field.model
    keys = {to_pk(target, key) for key in value}
    choices: Any = target._base_manager.using(database).complex_filter(field.get_limit_choices_to())
    try:
        rows = list(choices.in_bulk(keys).values())
    except OverflowError:  # from the driver of SQLite
        rows = []
    if len(rows) != len(keys):
        raise ValidationError("Some of these primary keys do not exist.")
    return rows


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a JSON number")
    return number


def _refuse(value: Any) -> NoReturn:
    raise ValidationError(f"A value of type {type(value).__name__} is not valid here.")
