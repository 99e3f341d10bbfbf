from setuptools import setup

setup(
    name='ticker',
    version='1.0',
    install_requires=[
        'Django>=1.11,<2.0',
        'channels>=1.1.6,<2.0',
        'asgi_ipc',
    ],
)
