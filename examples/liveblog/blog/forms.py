"""The form with which staff post from the page."""

from __future__ import annotations

from django import forms

from blog.models import BlogUpdate


class UpdateForm(forms.ModelForm):
    class Meta:
        model = BlogUpdate
        fields = ("content",)
        labels = {"content": "New update"}
        widgets = {"content": forms.Textarea(attrs={"rows": 3, "placeholder": "What is happening?"})}
