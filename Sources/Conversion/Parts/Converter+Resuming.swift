package import Calibration
import Pack
import Storage

// A run that goes on where another ended.

extension Converter {
  /// Writes the pack that a journal was begun for, and gives it its name; then the journal is gone.
  ///
  /// No more chunks than threads exist at a time, so that a run that ends in whatever way has to repeat one chunk a thread at most:
  /// of those that encode, those that write, and the one that notes what is written.
  ///
  /// - Parameters:
  ///   - journal: begun, and of this plan.
  ///   - found: called once with the chunks that need not be made again, and how many there are.
  ///   - states, replaces, progress, isInterrupted: as for ``write(to:states:replaces:progress:isInterrupted:)``.
  /// - Throws: ``ConversionError``; what is done is kept.
  package func write(
    resuming journal: Journal, states: (any StateSource)?, replaces: Bool, found: (Int, Int) -> Void,
    progress: (Int) -> Void, isInterrupted: () -> Bool
  ) throws(ConversionError) -> Outcome {
    let receipts: [ChunkReceipt]
    do throws(PartError) { receipts = try journal.soundReceipts(plan) } catch { throw .part(error) }
    found(receipts.count, plan.pack.chunks.count)
    var assembler = PackAssembler(plan: plan.pack)
    var tally = Tally(plan)
    var before = 0
    for (index, receipt) in receipts.enumerated() {
      _ = assembler.place(receipt)
      tally.add(index, receipt)
      before += parts(of: index).reduce(0) { $0 + $1.range.count }
    }
    if let states = journal.plan?.states { tally.setStates(states.hash) }
    var writer: PackWriter
    do throws(FileError) {
      let file = try OutputFile(goingOnWith: journal.packPath, as: journal.output, replaces: replaces)
      writer = try PackWriter(continuing: file, assembler, depth: budget.writes)
    } catch { throw .part(.system(error)) }
    let rest = receipts.count..<plan.pack.chunks.count
    _ = try encode(
      rest, states, window: threads, progress: { progress(before + $0) }, isInterrupted: isInterrupted
    ) { (index, result) throws(ConversionError) in
      tally.add(index, result)
      do throws(PackError) {
        let record = try writer.append(result.chunk)
        do throws(FileError) { try journal.append(ChunkReceipt(result, offset: record.offset)) } catch {
          throw .system(error)
        }
      } catch { throw .pack(error) }
    }
    let written = try finish(writer, tally)
    do throws(FileError) { try journal.append(root: written.pack.header.rootHash) } catch {
      throw .part(.system(error))
    }
    let outcome = try written.commit()
    journal.remove()
    return outcome
  }

  /// Ends a run whose pack got its name and that could not say so: ``Journal/isFinished``.
  package func finish(_ journal: Journal) throws(ConversionError) -> Outcome {
    let pack: PackFile
    do throws(PackError) { pack = try PackFile(path: journal.output) } catch { throw .pack(error) }
    var tally = Tally(plan)
    for (index, receipt) in journal.finishedReceipts().prefix(plan.pack.chunks.count).enumerated()
    where receipt.isOf(plan.pack.chunks[index]) {
      tally.add(index, receipt)
    }
    if let states = journal.plan?.states { tally.setStates(states.hash) }
    journal.remove()
    return tally.outcome(pack.header)
  }
}
