locals {
  tools = toset(["node", "python"])
  mirrors = {
    "eu.example.org" = 1
    us               = 2
  }
}

resource "coder_script" "tool" {
  for_each     = local.tools
  agent_id     = coder_agent.main[0].id
  display_name = "Install ${each.key}"
  run_on_start = true
  script       = <<-EOT
    #!/bin/sh
    install-tool ${upper(each.value)} --quiet
  EOT
}

resource "coder_script" "mirror" {
  for_each     = local.mirrors
  agent_id     = coder_agent.main[0].id
  display_name = "Mirror ${each.value}"
  run_on_start = true
  script       = "#!/bin/sh\nping -c 1 ${each.key}"
}

resource "coder_script" "shard" {
  count        = 2
  agent_id     = coder_agent.main[0].id
  display_name = "Shard ${count.index + 1}"
  run_on_start = true
  script       = "#!/bin/sh\nload --shard ${count.index}"
}

resource "coder_script" "gpu" {
  count        = 0
  agent_id     = coder_agent.main[0].id
  display_name = "GPU"
  run_on_start = true
  script       = "nvidia-smi"
}

resource "coder_script" "ide" {
  agent_id     = coder_agent.main[0].id
  display_name = "IDE"
  run_on_start = true
  script       = templatefile("ide.sh.tftpl", { port = 13337, flags = join(" ", ["--auth", "none"]) })
}
