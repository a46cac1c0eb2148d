resource "coder_agent" "dev" {
  os   = "linux"
  arch = "amd64"
  dir  = "/home/coder"

  startup_script          = "#!/bin/sh\necho ready"
  startup_script_behavior = "blocking"
}

module "bootstrap" {
  source   = "./bootstrap"
  agent_id = coder_agent.dev.id
}

module "service" {
  for_each = toset(["api", "worker"])
  source   = "./service"
  agent_id = coder_agent.dev.id
  name     = each.key
}

resource "coder_script" "ide" {
  agent_id     = coder_agent.dev.id
  display_name = "IDE"
  run_on_start = true
  script       = "#!/bin/sh\nide"
}

data "coder_script_order" "order" {
  rule {
    run   = ["module.service"]
    after = ["module.bootstrap"]
    phase = "start"
  }
  rule {
    run   = ["coder_script.ide"]
    after = ["module.bootstrap.module.tools", "module.bootstrap.coder_script.setup"]
  }
  rule {
    run      = ["coder_script.ide"]
    after    = ["module.service.coder_script.serve"]
    requires = "completion"
  }
}
