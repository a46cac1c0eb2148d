variable "agent_id" { type = string }

variable "package" {
  type    = string
  default = "jq"
}

resource "coder_script" "install" {
  agent_id     = var.agent_id
  display_name = "Install ${var.package}"
  run_on_start = true
  script       = "#!/bin/sh\napt-get install ${var.package}"
}
