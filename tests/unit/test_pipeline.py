from tinycuda import Project
def test_builds(project: Project) -> None:
    r = project.build()
    print(r)
    assert r.code == 0
    assert project.built.is_file()
    r = project.build()
    print(r)
    assert project.run("plan").code == 2
    print(project.run("plan", "tiny-1.0").out)
