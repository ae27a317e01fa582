//! `git` over `ssh`: clone, push, fetch.

use weir_tests::World;

use crate::claims::transparent;

transparent!(a_repository_is_cloned_pushed_to_and_fetched_from);

fn a_repository_is_cloned_pushed_to_and_fetched_from(world: &World) {
    world.far_dir("far");
    world
        .bash(
            "export GIT_SSH_COMMAND=\"ssh -F $PWD/config\" GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
             export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
             git init -q -b trunk far/repo; cd far/repo
             head -c 2000000 /dev/urandom > data; git add .; git commit -qm one
             git config receive.denyCurrentBranch ignore; cd ../..
             git clone -q target:$PWD/far/repo near
             cmp far/repo/data near/data
             cd near; head -c 1000000 /dev/urandom > more; git add .; git commit -qm two; git push -q; cd ..
             test \"$(git -C far/repo rev-parse trunk)\" = \"$(git -C near rev-parse HEAD)\"
             git clone -q --depth 1 target:$PWD/far/repo shallow
             cmp near/more shallow/more
             git -C near fetch -q; git -C near fsck --no-progress",
        )
        .succeed();
}
