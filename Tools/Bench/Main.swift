import Glibc
import Kernels

/// Each line on standard output is one measurement as a JSON object.
@main struct Bench {
  private static let usage = """
    usage: bench WORKLOAD [--runs N] [--mib N] [--only TEXT]… [--model PATH]
      encode, product, solve, hash from memory to memory
      open, expert, forward, context, decode
                                   a model: --model PATH; forward: [--head ROWS] of logits in each pass, none by default
      verify                       a checkpoint: --model PATH [--against PACK] [--cold yes] [--texts N] [--length N]
      quantize, check, export      whole commands on a checkpoint or a pack:
                                   --model PATH [--cold yes] [--output DIRECTORY] [--binary INGOT] [-- ARGUMENTS…]
      compare                      two programs by turns: --binary A --against B -- ARGUMENTS…
    """

  static func main() {
    var arguments = Array(CommandLine.arguments.dropFirst())
    let workloads = [
      "encode", "product", "solve", "hash", "open", "expert", "forward", "context", "decode", "verify", "quantize",
      "check", "export", "compare",
    ]
    OpenBLAS.prepare()
    guard let workload = arguments.first, workloads.contains(workload) else { fail(usage) }
    arguments.removeFirst()
    var options = Options()
    while let name = arguments.first {
      if name == "--" {
        options.arguments = Array(arguments.dropFirst())
        break
      }
      guard arguments.count > 1 else { fail("`\(name)` wants a value") }
      let value = arguments[1]
      switch (name, Int(value)) {
      case ("--runs", let number?) where number > 0: options.runs = number
      case ("--mib", let number?) where number > 0: options.mebibytes = number
      case ("--texts", let number?) where number > 0: options.texts = number
      case ("--length", let number?) where number >= 32: options.length = number
      case ("--head", let number?) where number >= 0: options.head = number
      case ("--model", _): options.model = value
      case ("--only", _): options.only.append(value)
      case ("--cold", _) where value == "yes" || value == "no": options.isCold = value == "yes"
      case ("--output", _): options.output = value
      case ("--binary", _): options.binary = value
      case ("--against", _): options.against = value
      default: fail("`\(name) \(value)` is no option")
      }
      arguments.removeFirst(2)
    }
    guard KernelSet.selected(forced: KernelSet.forcedName) != nil else { fail("INGOT_KERNELS names no set of kernels") }
    switch workload {
    case "encode": EncodeWorkload(options).run()
    case "product": ProductWorkload(options).run()
    case "solve": SolveWorkload(options).run()
    case "hash": HashWorkload(options).run()
    case "compare":
      guard let first = options.binary, let second = options.against else { fail(usage) }
      do { try CommandWorkload(options).compare(first, second) } catch { fail("\(error)") }
    default:
      guard let model = options.model else { fail("`\(workload)` wants --model PATH") }
      do {
        switch workload {
        case "open": try OpenWorkload(options).run(model)
        case "expert": try ExpertWorkload(options).run(model)
        case "forward": try ForwardWorkload(options).run(model)
        case "context": try ContextWorkload(options).run(model)
        case "decode": try DecodeWorkload(options).run(model)
        case "verify": try VerifyWorkload(options).run(model)
        case "quantize": try CommandWorkload(options).quantize(model)
        case "export": try CommandWorkload(options).export(model)
        default: try CommandWorkload(options).check(model)
        }
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
  /// The pack that `open` opens, `check` checks and `export` exports; the checkpoint that `quantize` packs; what `forward` runs.
  var model: String?
  /// Rows of logits that each pass of `forward` computes, of as many as it has.
  var head = 0
  /// Whether the files of `quantize`, `check`, `export` and `verify` leave the page cache before each run.
  var isCold = false
  /// The directory that `quantize` and `export` write in; that of the input if nil.
  var output: String?
  /// The program that `quantize`, `check` and `export` run, if not the one built beside; the first that `compare` does.
  var binary: String?
  /// The second one; the candidate of `verify`.
  var against: String?
  /// Further arguments of the command.
  var arguments: [String] = []
  /// That `verify` scores, and how many tokens each has.
  var texts = 8
  var length = 128
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
