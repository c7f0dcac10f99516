import Glibc
import Kernels

/// `bench encode|product|open|forward [--runs N] [--mib N] [--only TEXT] [--model PATH]`: each line on standard output is one measurement as a JSON object.
@main struct Bench {
  static func main() {
    var arguments = Array(CommandLine.arguments.dropFirst())
    guard let workload = arguments.first, ["encode", "product", "open", "forward"].contains(workload) else {
      fail("usage: bench encode|product|open|forward [--runs N] [--mib N] [--only TEXT]… [--model PATH]")
    }
    arguments.removeFirst()
    var options = Options()
    while let name = arguments.first {
      guard arguments.count > 1 else { fail("`\(name)` wants a value") }
      let value = arguments[1]
      switch (name, Int(value)) {
      case ("--runs", let number?) where number > 0: options.runs = number
      case ("--mib", let number?) where number > 0: options.mebibytes = number
      case ("--model", _): options.model = value
      case ("--only", _): options.only.append(value)
      default: fail("`\(name) \(value)` is no option")
      }
      arguments.removeFirst(2)
    }
    guard KernelSet.selected(forced: KernelSet.forcedName) != nil else { fail("INGOT_KERNELS names no set of kernels") }
    switch workload {
    case "encode": EncodeWorkload(options).run()
    case "product": ProductWorkload(options).run()
    default:
      guard let model = options.model else { fail("`\(workload)` wants --model PATH") }
      do {
        if workload == "open" { try OpenWorkload(options).run(model) } else { try ForwardWorkload(options).run(model) }
      } catch { fail("`\(model)`: \(error)") }
    }
  }

  private static func fail(_ message: String) -> Never {
    let line = Array("error: \(message)\n".utf8)
    unsafe _ = write(2, line, line.count)
    exit(2)
  }
}

struct Options {
  /// Timed passes; one more before them is not counted.
  var runs = 7
  /// The pack that `open` opens; the pack or checkpoint that `forward` runs.
  var model: String?
  /// Input of one pass.
  var mebibytes = 512
  /// Words that the title of a measurement, such as `int4-g64 search avx512 2` or `int4-g64 512x2048 1t avx512 2`, must all
  /// hold.
  var only: [String] = []

  func wants(_ title: String) -> Bool {
    let words = title.split(separator: " ")
    return only.allSatisfy { wanted in words.contains { $0 == wanted } }
  }
}
