import ArgumentParser
import Conversion
import JSON
import Pack
import Text

struct StatusCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status",
    abstract: "Tell which parts of a plan are made.",
    discussion: """
      Exits with 0 where all parts are there and sound, with 1 where some are missing, with 4 where a file is damaged or of \
      another plan. Receipts and lengths are looked at; --check also compares every byte with its hash.

      EXAMPLES
        ingot status --plan plan.json --parts-dir parts
        ingot status --plan plan.json --parts-dir parts --json
      """)

  @Option(help: ArgumentHelp("The plan.", valueName: "file"))
  var plan: String

  @Option(help: ArgumentHelp("Where the parts are.", valueName: "directory"))
  var partsDir: String

  @Flag(help: "Compare every byte with its hash.")
  var check = false

  @Flag(help: "Print the result as JSON on stdout.")
  var json = false

  private enum State {
    case done(bytes: Int)
    case missing
    case damaged(String)
    case foreign
  }

  func run() throws {
    let named = NamedPlan(path: plan, partsDirectory: partsDir)
    let document = try named.read()
    var states: [State] = []
    for part in document.parts.indices { states.append(try state(of: part, document, named)) }
    if json { print(states, document) } else { tell(states, document, named) }
    let isDamaged = states.contains {
      if case .damaged = $0 { true } else if case .foreign = $0 { true } else { false }
    }
    let isDone = states.allSatisfy { if case .done = $0 { true } else { false } }
    if !isDone { throw ExitCode((isDamaged ? ExitStatus.integrity : .failed).rawValue) }
  }

  private func state(of part: Int, _ plan: PartPlan, _ named: NamedPlan) throws(Failure) -> State {
    do throws(PartError) {
      guard let file = try PartFile(part, of: plan, in: partsDir) else { return .missing }
      if check { try file.check(first: plan.parts[part].firstChunk) }
      return .done(bytes: file.byteCount)
    } catch {
      switch error {
      case .damagedPart: return .damaged(named.failure(error).what)
      case .foreignPart: return .foreign
      default: throw named.failure(error)
      }
    }
  }

  private func numbers(_ states: [State], _ isWanted: (State) -> Bool) -> [Int] {
    states.indices.filter { isWanted(states[$0]) }
  }

  private func tell(_ states: [State], _ plan: PartPlan, _ named: NamedPlan) {
    var bytes = 0
    for state in states { if case .done(let own) = state { bytes += own } }
    let done = numbers(states) { if case .done = $0 { true } else { false } }
    Console.print("\(done.count) of \(states.count) parts are done, \(Format.bytes(bytes))")
    for (part, state) in states.enumerated() {
      switch state {
      case .done: break
      case .missing: Console.print("part \(part) is missing")
      case .damaged(let what): Console.print(Shown.text(what, limit: 4000))
      case .foreign: Console.print("`\(PartFile.path(of: part, in: partsDir))` is no part \(part) of this plan")
      }
    }
    if let next = states.indices.first(where: { !done.contains($0) }) {
      Console.note("next: \(named.command(of: next))")
    } else {
      Console.note("next: ingot merge --plan \(named.path) --parts-dir \(partsDir) -o OUT.ingot")
    }
  }

  /// Schema `ingot.status/1`: `Formats/plan.md`, section 6.
  private func print(_ states: [State], _ plan: PartPlan) {
    Console.print(
      [
        "schema": "ingot.status/1", "plan": .string(XXH3.text(plan.hash)),
        "parts": .array(
          states.enumerated().map { part, state in
            let (name, bytes, detail): (String, Int?, String?) =
              switch state {
              case .done(let bytes): ("done", bytes, nil)
              case .missing: ("missing", nil, nil)
              case .damaged(let what): ("damaged", nil, what)
              case .foreign: ("foreign", nil, nil)
              }
            return [
              "part": JSONValue(part), "state": .string(name), "bytes": bytes.map { JSONValue($0) } ?? .null,
              "detail": detail.map { .string($0) } ?? .null,
            ]
          }),
      ] as JSONValue)
  }
}
