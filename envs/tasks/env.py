"""`env.*`: the environment training runs in."""

from invoke import Context, task

from envs.settings import ROOT, blog_dir, print_json

__all__ = ["lock", "status", "up"]


@task(help={"json": "print one JSON document"})
def up(c: Context, json: bool = False) -> None:
    """Set up what is missing (venv, torch, node for the blog) and prove that it works. Repeating it is cheap."""
    if c.config.run.dry:
        print(f"would check torch in {ROOT / '.venv'} and set up node in {blog_dir(c)}")
        return
    from envs.environment import up as make

    report = make(ROOT, blog_dir(c), str(c.config.mirrors.npm))
    if json:
        print_json(report)
        return
    proof = report["proof"]
    print(f"venv    {report['prefix']} (Python {report['python']}, in step with its lock)")
    print(f"torch   {proof['torch']}, matrix product checked on {', '.join(proof['devices'])}")
    print(f"node    {report['node']}, blog packages installed")


@task(help={"json": "print one JSON document"})
def status(c: Context, json: bool = False) -> None:
    """Show what the environment is made of. Changes nothing."""
    from envs.environment import status as look

    report = look(ROOT, blog_dir(c))
    if json:
        print_json(report)
        return
    for name in ("backend", "prefix", "python", "torch", "numpy", "platform", "cpu", "cores", "lock_sha256"):
        print(f"{name:<12} {report[name]}")
    print(f"{'blog':<12} {report['node_problem'] or 'node and its packages are ready'}")


@task(help={"upgrade": "take the newest versions that fit, instead of keeping those in the lock"})
def lock(c: Context, upgrade: bool = False) -> None:
    """Write envs/requirements.lock anew from pyproject.toml: exact versions with hashes, for every platform."""
    if c.config.run.dry:
        print(f"would resolve {ROOT / 'pyproject.toml'} with uv and replace {ROOT / 'envs' / 'requirements.lock'}")
        return
    from envs.lock import renew

    print(renew(ROOT, upgrade))
