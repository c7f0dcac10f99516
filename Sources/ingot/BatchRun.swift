import Decoding
import JSON
import Storage
import Text

/// A line of a batch, ready to be worked on.
protocol BatchItem {
  associatedtype Work: SideBySide
  /// In the input, from 1.
  var line: Int { get }
  /// Where it stands, for messages.
  var place: String { get }
  /// Comes back with the result.
  var id: JSONValue? { get }
  /// Positions whose keys and values it takes.
  var positions: Int { get }
  func begin(_ index: Int, in work: inout Work) throws(DecodingError)
  /// What the result says beside line and id.
  func members(_ output: Work.Output) -> [(String, JSONValue)]
  /// Tokens that came of it, or were scored, and what was computed for them.
  func cost(_ output: Work.Output) -> (tokens: Int, passes: Int)
}

/// Works through the lines of a batch, many at a time, and keeps each result as it comes.
struct BatchRun<Item: BatchItem> {
  /// Lines in progress at a time unless `--batch-size` says otherwise: beyond that, weights are read hardly less often.
  static var mostTogether: Int { 64 }

  let kind: BatchKind
  /// Says what is being done, such as "answering".
  let stage: String
  /// What passes are called, in the plural.
  let passes: String
  let items: [Item]
  let model: RunModel
  let memory: BatchMemory
  let batchSize: Int?
  let isQuiet: Bool

  /// - Parameter work: with nothing under work.
  func run(_ work: Item.Work, into log: inout BatchLog) throws(Failure) {
    var work = work
    var waiting = items.indices.filter { log.results[items[$0].line] == nil }[...]
    let (start, count) = (Clock.seconds, waiting.count)
    var (tokens, passes, done) = (0, 0, 0)
    let progress = StageProgress(isQuiet: isQuiet)
    defer { progress.finish() }
    // Also while results are written, so that a signal which comes then is told what is kept.
    try Interrupt.lookingOut { () throws(Failure) in
      while true {
        let complete: [(index: Int, result: Result<Item.Work.Output, DecodingError>)]
        do throws(DecodingError) {
          while let index = waiting.first, work.count < batchSize ?? Self.mostTogether,
            work.positions + items[index].positions <= memory.positions
          {
            try items[index].begin(index, in: &work)
            waiting.removeFirst()
          }
          if work.count == 0 { break }
          complete = try work.advance(isInterrupted: { Interrupt.isRequested })
        } catch { throw failure(error, log) }
        for (index, result) in complete {
          if case .success(let output) = result {
            let cost = items[index].cost(output)
            (tokens, passes) = (tokens + cost.tokens, passes + cost.passes)
          }
          try log.append(items[index].line, line(of: items[index], result))
          done += 1
        }
        progress.update(
          stage, (Double(done) + work.share) / Double(count), detail: "\(log.results.count) of \(items.count)")
      }
    }
    guard !isQuiet else { return }
    progress.finish()
    let seconds = Clock.seconds - start
    let time = seconds < 10 ? "\(Format.fixed(seconds, 2)) s" : Format.duration(seconds)
    Console.note(
      "\(Format.count(done)) \(kind.results), \(Format.count(tokens)) tokens, \(Format.count(passes)) \(self.passes) in "
        + "\(time), \(Format.fixed(Double(tokens) / max(seconds, 1e-9), 1)) tokens/s")
  }

  private func line(of item: Item, _ result: Result<Item.Work.Output, DecodingError>) -> JSONValue {
    var object = JSONObject()
    object.append(.init(key: "line", value: JSONValue(item.line)))
    if let id = item.id { object.append(.init(key: "id", value: id)) }
    switch result {
    case .success(let output):
      for (key, value) in item.members(output) { object.append(.init(key: key, value: value)) }
    case .failure(let error):
      let failure = Failure(error, prompt: "", longest: 0, model: model.path)
      object.append(.init(key: BatchLog.errorKey, value: .string(failure.what)))
    }
    return .object(object)
  }

  private func failure(_ error: DecodingError, _ log: BatchLog) -> Failure {
    var failure = Failure(error, prompt: "", longest: 0, model: model.path)
    if error == .interrupted {
      failure.hint =
        "\(log.results.count) of \(items.count) \(kind.results) are kept in `\(log.path)`; the same command goes on from there"
    }
    return failure
  }
}
