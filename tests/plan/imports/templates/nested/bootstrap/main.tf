variable "agent_id" { type = string }

module "tools" {
  source   = "./tools"
  agent_id = var.agent_id
}

resource "coder_script" "setup" {
  agent_id     = var.agent_id
  display_name = "Set up"
  run_on_start = true
  script       = "#!/bin/sh\nsetup"
}

resource "coder_script" "clean" {
  agent_id     = var.agent_id
  display_name = "Clean up"
  run_on_stop  = true
  script       = "#!/bin/sh\nclean"
}

# Relative to this module.
data "coder_script_order" "inner" {
  rule {
    run   = ["coder_script.setup"]
    after = ["module.tools"]
  }
}
