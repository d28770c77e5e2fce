"""`blog.*`: turn runs into posts, build the site, look at it, find what is wrong with it."""

from pathlib import Path

from invoke import Context, Exit, task

from envs.settings import blog_dir, print_json, runs_dir, text

__all__ = ["build", "check", "post", "serve"]


@task
def build(c: Context) -> None:
    """Build the site into blog/public; a failed build leaves the old one as it is.

    The first call makes the blog's own node environment and installs its packages; later ones need no network.
    """
    if c.config.run.dry:
        print(f"would make node's environment in {blog_dir(c)} if need be, and build the site there")
        return
    from blog.site import build as build_site

    print(f"open    {build_site(blog_dir(c), _registry(c))}")


@task(
    auto_shortflags=False,  # -h is --help, not --host
    help={
        "port": "exactly this port, or 0 for any free one; without it the first free one from 4000 on",
        "host": "the address to listen on; 0.0.0.0 shows the site to the whole network",
    },
)
def serve(c: Context, port: str = "", host: str = "127.0.0.1") -> None:
    """Serve the site on this machine and render anew what changes, until Ctrl-C."""
    from blog.server import port_number

    wanted = port_number("--port", port) if port else None
    first = port_number("blog.port in invoke.yaml", c.config.blog.port)
    text("--host", host, "./inv blog.serve --host 127.0.0.1")
    if c.config.run.dry:
        print(f"would run hexo server in {blog_dir(c)} on {host}, port {first if wanted is None else wanted or 'any'}")
        return
    from blog.server import serve as serve_site

    serve_site(blog_dir(c), wanted, first, host, _registry(c))


@task(
    positional=["run"],
    help={"run": "the run's name, or the beginning of it", "json": "print one JSON document"},
)
def post(c: Context, run: str, json: bool = False) -> None:
    """Turn a finished run into a post, or renew the post it has.

    What a person wrote outside the marked part, and their lines in the front matter, stays.
    """
    from envs.runs import find_run

    folder = find_run(runs_dir(c), text("a run", run, "./inv blog.post RUN; `./inv train.list` shows the runs")).folder
    if c.config.run.dry:
        path = _check_only(folder, blog_dir(c))
        print(f"would write {path} and its figures from {folder}")
        return
    from blog.post import write_post

    path = write_post(folder, blog_dir(c))
    if json:
        print_json({"run": folder.name, "post": str(path)})
    else:
        print(f"post    {path}\nnext    ./inv blog.build, or ./inv blog.serve to look at it while you write")


@task(help={"json": "print one JSON document"})
def check(c: Context, json: bool = False) -> None:
    """Say what is wrong with the blog, and what mends it; changes nothing.

    Exit code 0: in order; 1: warnings; 2: something is broken.
    """
    from blog.check import check_site, exit_code, lines

    findings = check_site(blog_dir(c))
    if json:
        print_json([finding.as_dict() for finding in findings])
    else:
        print(lines(findings))
    raise Exit(code=exit_code(findings))


def _check_only(folder: Path, blog: Path) -> Path:
    """Where the post of a run would go, after the same checks as the real thing."""
    from blog.post import post_path
    from blog.run_folder import read_run

    return post_path(read_run(folder).id, blog)


def _registry(c: Context) -> str | None:
    """The npm mirror of invoke.yaml, if one is set."""
    return str(c.config.mirrors.npm) or None
