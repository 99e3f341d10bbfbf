"""Models of many shapes, for the tests of bindings."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.contrib.contenttypes.fields import GenericForeignKey
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Length


class Tag(models.Model):
    """A label for items."""

    id = models.AutoField(primary_key=True)
    name = models.CharField(max_length=20)
    objects: ClassVar[models.Manager[Tag]]


class Item(models.Model):
    """A thing on a shelf: a UUID as the primary key, and relations."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=20)
    shelf = models.CharField(max_length=20, default="top")
    added = models.DateField(null=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, null=True)
    tags = models.ManyToManyField(Tag)
    objects: ClassVar[models.Manager[Item]]

    @property
    def title(self) -> str:
        return str(self.name).title()

    def label(self) -> str:
        return f"{self.name} ({self.shelf})"


class ItemProxy(Item):
    """A proxy model."""

    objects: ClassVar[models.Manager[ItemProxy]]

    class Meta:
        proxy = True


class Product(models.Model):
    """A parent table: its own validation, a unique field, and dates that the model sets."""

    number = models.CharField(max_length=10, unique=True)
    price = models.DecimalField(max_digits=6, decimal_places=2, default=0)
    cost = models.DecimalField(max_digits=6, decimal_places=2, default=0)
    details = models.JSONField(default=dict, blank=True)
    weight = models.FloatField(null=True, blank=True)
    stock = models.IntegerField(default=0)
    checked = models.DateTimeField(null=True, blank=True)
    picture = models.FileField(blank=True)
    created = models.DateTimeField(auto_now_add=True)
    changed = models.DateTimeField(auto_now=True)
    tags = models.ManyToManyField(Tag, limit_choices_to={"name__startswith": "p"})
    objects: ClassVar[models.Manager[Product]]

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=models.Q(price__gte=0), name="price_is_not_negative")
        ]

    def clean(self) -> None:
        if self.number == "13":
            raise ValidationError("No product has the number 13.")


class Machine(Product):
    """A child of a concrete model."""

    power = models.IntegerField()
    objects: ClassVar[models.Manager[Machine]]


class Robot(Machine):
    """A child of a child."""

    arms = models.IntegerField(default=2)
    objects: ClassVar[models.Manager[Robot]]


class Country(models.Model):
    """A primary key without a default."""

    code = models.CharField(max_length=10, primary_key=True, db_collation="nocase")
    name = models.CharField(max_length=20)
    objects: ClassVar[models.Manager[Country]]


class Kingdom(Country):
    """A child of a model whose primary key has no default."""

    king = models.CharField(max_length=20)
    objects: ClassVar[models.Manager[Kingdom]]


class Profile(models.Model):
    """A primary key that is a relation."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True)
    nickname = models.CharField(max_length=20, unique=True)
    objects: ClassVar[models.Manager[Profile]]


class VisibleManager(models.Manager["Page"]):
    def get_queryset(self) -> models.QuerySet[Page]:
        pages: models.QuerySet[Page] = super().get_queryset().filter(hidden=False)
        return pages


class Page(models.Model):
    """A model without `objects`, whose manager shows some of the rows only."""

    title = models.CharField(max_length=20, unique=True)
    hidden = models.BooleanField(default=False)

    visible = VisibleManager()


class Note(models.Model):
    """A generic relation."""

    text = models.CharField(max_length=20)
    content_type = models.ForeignKey(ContentType, models.CASCADE)
    object_id = models.CharField(max_length=40)
    content_object = GenericForeignKey()
    objects: ClassVar[models.Manager[Note]]


class Club(models.Model):
    """A many-to-many relation with a model of its own in between."""

    name = models.CharField(max_length=20)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, through="Membership")
    objects: ClassVar[models.Manager[Club]]


class Membership(models.Model):
    """The model of the relation, unique in two fields together."""

    club = models.ForeignKey(Club, models.CASCADE)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    role = models.CharField(max_length=20, choices=[("chair", "Chair"), ("member", "Member")], default="member")
    objects: ClassVar[models.Manager[Membership]]

    class Meta:
        unique_together: ClassVar[list[tuple[str, ...]]] = [("club", "user")]


class Seat(models.Model):
    """A primary key of two fields."""

    pk = models.CompositePrimaryKey("row", "number")
    row = models.IntegerField()
    number = models.IntegerField()
    guest = models.CharField(max_length=20)
    objects: ClassVar[models.Manager[Seat]]


class Part(models.Model):
    """A foreign key to a field that is not the primary key."""

    product = models.ForeignKey(Product, models.CASCADE, to_field="number")
    name = models.CharField(max_length=20)
    objects: ClassVar[models.Manager[Part]]


class Blob(models.Model):
    """Bytes, also as the primary key."""

    digest = models.BinaryField(primary_key=True, max_length=20)
    content = models.BinaryField(default=b"", blank=True)
    size = models.GeneratedField(expression=Length("content"), output_field=models.IntegerField(), db_persist=True)
    objects: ClassVar[models.Manager[Blob]]


class Rate(models.Model):
    """A decimal number as the primary key."""

    value = models.DecimalField(primary_key=True, max_digits=6, decimal_places=2)
    name = models.CharField(max_length=20)
    objects: ClassVar[models.Manager[Rate]]


class Charge(models.Model):
    """A foreign key to a decimal number, and a key of bytes."""

    rate = models.ForeignKey(Rate, models.CASCADE)
    blob = models.ForeignKey(Blob, models.CASCADE, null=True)
    objects: ClassVar[models.Manager[Charge]]


class Moment(models.Model):
    """A time as the primary key."""

    at = models.DateTimeField(primary_key=True)
    lasts = models.DurationField(null=True)
    name = models.CharField(max_length=20)
    objects: ClassVar[models.Manager[Moment]]


class Slot(models.Model):
    """A primary key of a date, a time of day, an address and a relation."""

    pk = models.CompositePrimaryKey("day", "hour", "address", "item")
    day = models.DateField()
    hour = models.TimeField()
    address = models.GenericIPAddressField()
    item = models.ForeignKey(Item, models.CASCADE)
    guest = models.CharField(max_length=20)
    objects: ClassVar[models.Manager[Slot]]


class Scan(models.Model):
    """A file as the primary key."""

    file = models.FileField(primary_key=True)  # type: ignore[call-arg]  # the stubs leave it out
    name = models.CharField(max_length=20)
    objects: ClassVar[models.Manager[Scan]]
