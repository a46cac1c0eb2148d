data "coder_workspace" "me" {}

resource "coder_agent" "main" {
  count = data.coder_workspace.me.start_count
  os    = "linux"
  arch  = "amd64"
}

resource "docker_container" "workspace" {
  count   = data.coder_workspace.me.start_count
  image   = "example/workspace"
  command = ["sh", "-c", coder_agent.main[0].init_script]
  env     = ["CODER_AGENT_TOKEN=${coder_agent.main[0].token}"]
}
