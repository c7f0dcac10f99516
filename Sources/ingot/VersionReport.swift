import Kernels
import Text

/// What `--version` says; with `--verbose` also what runs here.
enum VersionReport {
  static var text: String {
    guard CommandLine.arguments.contains("--verbose") else { return toolVersion }
    let available = KernelSet.available.map(\.name)
    let chosen = KernelSet.selected(forced: KernelSet.forcedName)
    let rows = [
      ["ingot", toolVersion],
      ["kernels", (chosen?.name ?? "none: INGOT_KERNELS names no set of this machine")],
      ["available", available.joined(separator: ", ")],
      ["threads", "\(Machine.threads)"],
    ]
    return Format.table(rows).joined(separator: "\n")
  }
}
