import Kernels
import Text

/// What `--version` says; with `--verbose` also what runs here.
enum VersionReport {
  static var text: String {
    guard CommandLine.arguments.contains("--verbose") else { return toolVersion }
    let available = KernelSet.available.map(\.name)
    let chosen = KernelSet.selected(forced: KernelSet.forcedName)
    var rows = [
      ["ingot", toolVersion],
      ["kernels", (chosen?.name ?? "none: INGOT_KERNELS names no set of this machine")],
      ["available", available.joined(separator: ", ")],
      ["threads", "\(Machine.threads)"],
    ]
    rows += libraries
    return Format.table(rows).joined(separator: "\n")
  }

  /// Libraries that are loaded on demand, each with what it chose for this processor.
  private static var libraries: [[String]] {
    do throws(BLASError) { return [["openblas", try BLAS.load().coreName]] } catch {
      return [["openblas", error.text]]
    }
  }
}

extension BLASError {
  var text: String {
    switch self {
    case .notFound(let reason):
      "not there: \(Shown.text(reason)); Debian has it as libopenblas0-pthread, PyPI as scipy-openblas32"
    case .incomplete(let symbol): "lacks \(symbol)"
    case .noMemory: "has no memory for its buffers, 128 MiB of address space for each thread"
    }
  }
}
