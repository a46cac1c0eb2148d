variable "replicas" {
  type    = number
  default = 2
}

variable "mirror" {
  type = string
}

data "coder_workspace" "me" {}

data "coder_parameter" "repo" {
  name    = "repo"
  default = "https://git.example.org/repo.git"
}

data "coder_parameter" "cache" {
  name    = "cache"
  type    = "bool"
  default = "true"
}

locals {
  folder = "/srv/${data.coder_parameter.repo.value}"
}

resource "coder_agent" "main" {
  os   = "linux"
  arch = "amd64"
  dir  = local.folder
}

# tflint-ignore: terraform_module_version
module "git-clone" {
  count    = data.coder_workspace.me.start_count
  source   = "registry.coder.com/coder/git-clone/coder"
  version  = "~> 1.0"
  agent_id = coder_agent.main.id
  url      = data.coder_parameter.repo.value
}

module "worker" {
  count    = var.replicas
  source   = "./worker"
  agent_id = coder_agent.main.id
}

resource "coder_script" "deps" {
  agent_id     = coder_agent.main.id
  display_name = "Dependencies of ${data.coder_parameter.repo.value}"
  run_on_start = true
  timeout      = var.replicas * 60
  script       = <<-EOT
    #!/bin/sh
    export PIP_INDEX_URL="${var.mirror}"
    %{ if data.coder_parameter.cache.value == "true" ~}
    use-cache
    %{ endif ~}
    pip install -r "${local.folder}/requirements.txt" --for $${USER}
  EOT
}

resource "coder_script" "warm" {
  count        = data.coder_parameter.cache.value == "true" ? 1 : 0
  agent_id     = coder_agent.main.id
  display_name = "Warm the cache"
  run_on_start = data.coder_parameter.cache.value
  script       = "#!/bin/sh\nwarm ${count.index}"
}

resource "coder_env" "mirror" {
  agent_id = coder_agent.main.id
  name     = "MIRROR"
  value    = var.mirror
}

data "coder_script_order" "order" {
  rule {
    run   = ["coder_script.deps"]
    after = ["module.git-clone"]
  }
  rule {
    run      = ["coder_script.warm", "module.worker"]
    after    = ["coder_script.deps"]
    requires = "completion"
  }
  rule {
    run   = var.mirror == "" ? ["coder_script.warm"] : ["module.worker"]
    after = ["module.git-clone"]
  }
}
