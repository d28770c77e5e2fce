"""The index of every command: `./inv --list`. Each room keeps its own tasks; here they are only put together."""

from invoke import Collection

from blog import demo
from blog import tasks as blog_tasks
from envs.settings import DEFAULTS
from envs.tasks import env, project, train

namespace = Collection(
    demo.demo,
    project.doctor,
    project.test,
    project.check,
    project.bench,
    env=Collection.from_module(env),
    train=Collection.from_module(train),
    blog=Collection.from_module(blog_tasks),
)
namespace.configure(DEFAULTS)
