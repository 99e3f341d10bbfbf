"""The Django project that every contender serves: the same views, the same consumers in two dialects."""
