"""Blogs and updates in Django's admin."""

from __future__ import annotations

from django.contrib import admin

from blog.models import Blog, BlogUpdate


@admin.register(Blog)
class BlogAdmin(admin.ModelAdmin):
    list_display = ("name", "slug")
    prepopulated_fields = {"slug": ("name",)}


@admin.register(BlogUpdate)
class BlogUpdateAdmin(admin.ModelAdmin):
    list_display = ("__str__", "blog", "created")
    list_filter = ("blog",)
    search_fields = ("content",)
