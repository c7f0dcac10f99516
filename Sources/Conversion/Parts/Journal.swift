import JSON
import Journals
import Pack
import Safetensors
import Storage

/// What a resumable run keeps beside its output until the pack is whole: the directory `OUT.resume` with the plan, the pack as far as it
/// is written, and a line for each of its chunks (`Formats/plan.md`, section 5).
package final class Journal {
  package let output: String
  package let directory: String
  /// What the run makes; nil where none has begun.
  package private(set) var plan: PartPlan?
  private let log: LockedLog

  private static let names: Set = [".", "..", "plan.json", "chunks", "pack"]
  private var planPath: String { "\(directory)/plan.json" }
  var packPath: String { "\(directory)/pack" }

  /// The directory beside an output.
  package static func directory(of output: String) -> String { "\(output).resume" }

  /// Whether a run has begun and did not end.
  package static func exists(for output: String) -> Bool { SystemCall.statusOfLink(directory(of: output)) != nil }

  /// Opens what is there, or begins.
  ///
  /// - Throws: ``PartError/foreignJournal(path:)``, ``PartError/brokenJournal(path:)``, ``PartError/busy(path:)``,
  ///   ``PartError/system(_:)``.
  package init(for output: String) throws(PartError) {
    let directory = Self.directory(of: output)
    self.output = output
    self.directory = directory
    if SystemCall.makeDirectory(directory) != 0 {
      let error = FileError("create", directory)
      guard let names = SystemCall.names(in: directory) else { throw .system(error) }
      // A plan has a temporary name first.
      guard names.allSatisfy({ Self.names.contains($0) || $0.hasPrefix(".plan.json.") }) else {
        throw .foreignJournal(path: directory)
      }
    }
    let log: LockedLog?
    do throws(FileError) { log = try LockedLog.open("\(directory)/chunks") } catch { throw .system(error) }
    guard let log else { throw .busy(path: directory) }
    self.log = log
    _ = OutputFile.removeLeftovers(of: "\(directory)/plan.json")
    do throws(PartError) { plan = try PartPlan(path: "\(directory)/plan.json") } catch {
      // A run may end before it has begun.
      guard case .system(let cause) = error else { throw .brokenJournal(path: directory) }
      guard cause.isMissing else { throw error }
    }
  }

  /// Refuses a run that would make another pack than the one that was begun.
  ///
  /// - Throws: ``PartError/otherRun(member:path:)``.
  package func require(_ wanted: PartPlan) throws(PartError) {
    guard let member = plan?.differentPremise(from: wanted) else { return }
    throw .otherRun(member: member, path: directory)
  }

  /// Forgets what was kept.
  package func discard() throws(PartError) {
    do throws(FileError) { try log.cut(at: 0) } catch { throw .system(error) }
    for path in [packPath, planPath] { _ = SystemCall.unlink(path) }
    plan = nil
  }

  /// Begins a run.
  package func begin(_ plan: PartPlan) throws(PartError) {
    try discard()
    do throws(FileError) {
      let file = try OutputFile(path: planPath)
      try file.write(Array(plan.json.text().utf8).bytes, at: 0)
      try file.commit()
    } catch { throw .system(error) }
    self.plan = plan
  }

  /// Forgets all of it in one step, so that nobody finds a half of it.
  package func remove() { try? FileTree.removeAtOnce(directory, beside: output) }

  // MARK: Lines

  private func append(_ value: JSONValue) throws(FileError) { try log.append(HashedLines.line(value)) }

  /// The lines that are whole, and where each ends.
  private func lines() throws(FileError) -> [(value: JSONValue, end: Int)] {
    let bytes = try log.contents()
    let found = HashedLines.read(bytes.bytes)
    return zip(found.documents, found.ends).map { (value: $0, end: $1) }
  }

  /// The first line: which plan, and when its sources were written.
  private func premise(_ plan: PartPlan, _ conversion: ConversionPlan) -> JSONValue {
    [
      "plan": .string(XXH3.text(plan.hash)),
      "written": .array(conversion.checkpoint.files.map { .array($0.file.written.map { JSONValue($0) }) }),
    ]
  }

  /// Receipts of the chunks that are there: of this plan, one behind the other, and in the pack as their hashes say. All else is
  /// forgotten.
  ///
  /// - Throws: ``PartError/otherRun(member:path:)`` where a source was written to since.
  func soundReceipts(_ conversion: ConversionPlan) throws(PartError) -> [ChunkReceipt] {
    guard let plan else { return [] }
    let premise = premise(plan, conversion)
    do throws(FileError) {
      let lines = try lines()
      guard let first = lines.first, first.value.object?["plan"] == premise.object?["plan"] else {
        try log.cut(at: 0)
        try append(premise)
        return []
      }
      guard first.value == premise else { throw FileError("read", directory, code: FileError.changed) }
      var receipts: [ChunkReceipt] = []
      var end = first.end
      if let written = try? MappedFile(path: packPath) {
        var assembler = PackAssembler(plan: conversion.pack)
        for line in lines.dropFirst() where receipts.count < conversion.pack.chunks.count {
          guard let receipt = try? line.value.decoded(as: ChunkReceipt.self),
            receipt.isOf(conversion.pack.chunks[receipts.count]),
            assembler.place(receipt).offset == receipt.offset, receipt.byteRange.upperBound <= written.byteCount,
            XXH3.hash(written.bytes.extracting(receipt.byteRange)) == receipt.storedHash
          else { break }
          receipts.append(receipt)
          end = line.end
        }
      }
      try log.cut(at: end)
      return receipts
    } catch {
      throw error.code == FileError.changed ? .otherRun(member: "sources", path: directory) : .system(error)
    }
  }

  /// Receipts of the chunks of a pack that has its name.
  func finishedReceipts() -> [ChunkReceipt] {
    (try? lines())?.compactMap { try? $0.value.decoded(as: ChunkReceipt.self) } ?? []
  }

  /// Notes a chunk that is in the pack.
  func append(_ receipt: ChunkReceipt) throws(FileError) { try append(JSONValue(encoding: receipt)) }

  /// Notes that the pack is whole and about to get its name.
  func append(root: UInt64) throws(FileError) { try append(["root_xxh3": .string(XXH3.text(root))]) }

  /// Whether the pack that was begun has its name already, and only what was kept is left. Which pack that is, its plan tells: see
  /// ``require(_:)``.
  package var isFinished: Bool {
    guard let plan, SystemCall.statusOfLink(packPath) == nil, let lines = try? lines(),
      lines.first?.value.object?["plan"] == .string(XXH3.text(plan.hash)), let pack = try? PackFile(path: output)
    else {
      return false
    }
    return lines.last?.value.object?["root_xxh3"]?.string.flatMap(XXH3.parse) == pack.header.rootHash
  }
}

extension PackAssembler {
  /// Gives a chunk its place of which the receipt is known.
  mutating func place(_ receipt: ChunkReceipt) -> ChunkRecord {
    place(
      storedLength: receipt.storedBytes, contentLength: receipt.contentBytes, tailOffset: receipt.tailOffset,
      codec: receipt.codec, storedHash: receipt.storedHash, contentHash: receipt.contentHash)
  }
}
