using System.IO.Compression;
using System.Text;
using Ioasis.Conformance;
using Ioasis.Hardware;

namespace Ioasis.RiscV.Hardware.Tests.Vectors;

/// <summary>The replayer itself: it finds what differs, and says what is wrong with a file.</summary>
public sealed class ReplayerTests
{
    public static TheoryData<string> Topics
    {
        get
        {
            TheoryData<string> topics = [];
            foreach (string file in Directory.GetFiles(Repository.CommittedVectors, "*.jsonl.gz").Order(StringComparer.Ordinal))
            {
                topics.Add(Path.GetFileName(file));
            }

            return topics;
        }
    }

    [Theory]
    [MemberData(nameof(Topics))]
    public void Any_single_changed_expectation_is_found_at_its_operation(string topic)
    {
        int planted = 0;
        using CaseReplayer replayer = new(
            "none", (parameters, memory, outputs) => new HardwareModel(parameters, memory, outputs, CachingMode.None));
        foreach (VectorCase vectorCase in VectorReader.ReadFile(Path.Combine(Repository.CommittedVectors, topic)).Take(25))
        {
            for (int i = 0; i < vectorCase.Operations.Count; i++)
            {
                foreach ((string what, VectorOperation changed) in Changes(vectorCase.Operations[i]))
                {
                    VectorOperation[] operations = [.. vectorCase.Operations];
                    operations[i] = changed;
                    List<Difference> differences = replayer.Replay(vectorCase with { Operations = operations });
                    differences.ShouldNotBeEmpty($"{vectorCase.Id} op {i} ({changed}): {what}");
                    differences[0].OperationIndex.ShouldBe(i, $"{vectorCase.Id}: {what}");
                    planted++;
                }
            }
        }

        planted.ShouldBeGreaterThan(25);
    }

    [Fact]
    public void A_missing_file_is_named()
    {
        VectorFormatException exception = Should.Throw<VectorFormatException>(() => ConformanceRunner.Run(["no/such/file.jsonl"], new()));
        exception.Message.ShouldBe("no/such/file.jsonl: no such file");
    }

    [Theory]
    [InlineData("not json at all", "is not JSON")]
    [InlineData("""{"id":"a","t":"b","p":{"cap":"10"},"o":[["bogus",1]]}""", "unknown operation \"bogus\"")]
    [InlineData("""{"id":"a","t":"b","p":{"cap":"xyz"},"o":[]}""", "\"xyz\" is not a hexadecimal number of up to 64 bits")]
    [InlineData("""{"id":"a","t":"b","p":{"cap":"10","zz":1},"o":[]}""", "unknown reset parameter \"zz\"")]
    [InlineData("""{"id":"a","t":"b","o":[]}""", "the case has no reset parameters")]
    [InlineData("""{"id":"a","t":"b","p":{"cap":"10"}}""", "the case has no operations")]
    [InlineData("""{"id":"a","t":"b","p":{"cap":"10"},"o":[["w","0","123"]]}""", "a string of bytes has an odd length")]
    [InlineData("""{"id":"a","t":"b","p":{"cap":"10"},"o":[["rd",0,9,"0"]]}""", "a register access has 1 to 8 bytes")]
    [InlineData("""{"id":"a","t":"b","p":{"cap":"10"},"o":[["wr",70000,4,"0"]]}""", "a register offset has 16 bits")]
    [InlineData("""{"id":"a","t":"b","p":{"cap":"10"},"o":[["f","0",8,"x","av"]]}""", "unknown kind of fault")]
    [InlineData("""{"id":"a","t":"b","p":{"cap":"10"},"o":[["wr",8,4,"0",{"q":[[1]]}]]}""", "unknown output \"q\"")]
    [InlineData("""{"id":"a","t":"b","p":{"cap":"10"},"o":[["tr",{"d":1,"a":"0"}""", "is not JSON")]
    [InlineData("""{"id":"a","t":"b","p":{"cap":"10"},"o":[]} {}""", "is not JSON")]
    [InlineData("""["id"]""", "expected a case (an object)")]
    public void A_bad_line_is_named_with_file_and_line(string line, string problem)
    {
        const string good = """{"id":"good","t":"x","p":{"cap":"10"},"o":[]}""";
        byte[] text = Encoding.UTF8.GetBytes($"{good}\n\n{line}\n");
        VectorFormatException exception = Should.Throw<VectorFormatException>(() => VectorReader.Read(new MemoryStream(text), "some.jsonl").Count());
        exception.Message.ShouldStartWith("some.jsonl:3: ");
        exception.Message.ShouldContain(problem);
    }

    [Fact]
    public void A_truncated_archive_is_bad_input()
    {
        string path = Path.GetTempFileName();
        try
        {
            byte[] whole = File.ReadAllBytes(Path.Combine(Repository.CommittedVectors, "debug.jsonl.gz"));
            byte[] damaged = [.. whole.Take(200), .. Enumerable.Repeat((byte)0x55, 4000)];
            File.WriteAllBytes(path, damaged);
            Should.Throw<VectorFormatException>(() => VectorReader.ReadFile(path).Count()).Message.ShouldStartWith(path);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void Plain_and_compressed_files_read_alike()
    {
        string source = Path.Combine(Repository.CommittedVectors, "debug.jsonl.gz"), plain = Path.GetTempFileName();
        try
        {
            using (GZipStream unpacked = new(File.OpenRead(source), CompressionMode.Decompress))
            using (FileStream target = File.Create(plain))
            {
                unpacked.CopyTo(target);
            }

            VectorReader.ReadFile(plain).Select(c => c.Id).ShouldBe(VectorReader.ReadFile(source).Select(c => c.Id));
        }
        finally
        {
            File.Delete(plain);
        }
    }

    [Fact]
    public void A_case_with_an_unknown_need_is_skipped_and_counted()
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllText(path, """
                {"id":"a","t":"x","p":{"cap":"3800000010"},"need":["something-new"],"o":[["rd",0,8,"0"]]}
                {"id":"b","t":"x","p":{"cap":"3800000010"},"need":["itag2"],"o":[["rd",0,8,"3800000010"]]}
                """);
            ConformanceReport report = ConformanceRunner.Run([path], new());
            (report.Passed, report.Failed, report.Skipped).ShouldBe((1, 0, 1));
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void A_continued_case_goes_on_from_the_state_that_the_previous_left_also_when_it_is_run_alone()
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllText(path, """
                {"id":"a","t":"x","p":{"cap":"3810000010","fctl":"2"},"o":[["wr",24,8,"12340003"],["par",{"vb":2}]]}
                {"id":"b","t":"x","p":{"cap":"3810000010","fctl":"2"},"cont":1,"o":[["rd",24,8,"12340003"],["force",24,8,"5555"],["rd",24,8,"5555"]]}
                {"id":"c","t":"x","p":{"cap":"3810000010","fctl":"2"},"o":[["rd",24,8,"0"]]}
                """);
            ConformanceRunner.Run([path], new()).Passed.ShouldBe(3);
            ConformanceReport alone = ConformanceRunner.Run([path], new() { CaseId = "b" });
            (alone.Passed, alone.Failed).ShouldBe((1, 0));
            Should.Throw<VectorFormatException>(() => ConformanceRunner.Run([path], new() { CaseId = "none" }));
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void A_report_names_case_operation_field_values_and_section()
    {
        string path = Path.GetTempFileName();
        try
        {
            File.WriteAllText(path, """{"id":"some-case","t":"registers","p":{"cap":"3810000010","fctl":"2"},"o":[["wr",24,8,"12340003"],["rd",24,8,"12340004"]]}""");
            StringWriter text = new();
            ConformanceRunner.Run([path], new()).WriteTo(text);
            string report = text.ToString();
            report.ShouldContain("some-case (none) op 1: rd cqb");
            report.ShouldContain("cqb: expected 0x12340004, got 0x12340003");
            report.ShouldContain("section 5.6 cqb");
            report.TrimEnd().ShouldEndWith("0 passed, 1 failed");
        }
        finally
        {
            File.Delete(path);
        }
    }

    // Every way to change one expectation of an operation, so that exactly it cannot hold any more.
    private static IEnumerable<(string What, VectorOperation Changed)> Changes(VectorOperation operation)
    {
        switch (operation)
        {
            case RegisterReadOperation { DependsOnCaches: false } read when (read.Mask & (read.Size == 8 ? ulong.MaxValue : uint.MaxValue)) != 0:
                yield return ("a bit of the value", read with { Value = read.Value ^ LowestBit(read.Mask) });
                yield break;
            case TranslateOperation translate:
                yield return ("the status", translate with { Response = translate.Response with { Status = translate.Response.Status == 1 ? 4 : 1 } });
                foreach ((string what, TransactionResponse response) in Changes(translate.Request, translate.Response))
                {
                    yield return (what, translate with { Response = response });
                }

                break;
            case CompletionOperation completion:
                yield return ("unexpected or not", completion with { IsUnexpected = !completion.IsUnexpected });
                break;
            case RegisterWriteOperation or PageRequestOperation or TimeoutOperation:
                break;
            default:
                yield break;
        }

        foreach ((string what, ExpectedOutputs outputs) in Changes(operation.Outputs))
        {
            yield return (what, operation with { Outputs = outputs });
        }
    }

    private static IEnumerable<(string What, TransactionResponse Changed)> Changes(TransactionRequest request, TransactionResponse response)
    {
        if (response.Status != 0)
        {
            yield break;
        }

        bool ats = request.AddressType == 1;
        if (ats)
        {
            yield return ("R", response with { Read = !response.Read });
            yield return ("W", response with { Write = !response.Write });
            if (!response.Read && !response.Write)
            {
                yield break;
            }

            yield return ("X", response with { Execute = !response.Execute });
            yield return ("P", response with { Privileged = !response.Privileged });
            yield return ("G", response with { Global = !response.Global });
            yield return ("U", response with { UntranslatedOnly = !response.UntranslatedOnly });
            yield return ("N", response with { NoSnoop = !response.NoSnoop });
            yield return ("A", response with { Ama = !response.Ama });
            yield return ("z", response with { Size = response.Size * 2 });
            if (response.CxlIo is bool cxlIo)
            {
                yield return ("C", response with { CxlIo = !cxlIo });
            }
        }

        yield return ("pb", response with { MemoryType = response.MemoryType ^ 1 });
        yield return ("msi", response with { IsMsi = !response.IsMsi });
        if (response.Mrif is { } mrif)
        {
            yield return ("MRIF address", response with { Mrif = mrif with { Address = mrif.Address ^ 512 } });
            yield return ("notice ID", response with { Mrif = mrif with { NoticeId = mrif.NoticeId ^ 1 } });
            yield return ("notice address", response with { Mrif = mrif with { NoticeAddress = mrif.NoticeAddress ^ 4096 } });
            yield return ("no MRIF", response with { Mrif = null, Address = 0 });
        }
        else
        {
            yield return ("pa", response with { Address = response.Address ^ 1 });
        }
    }

    private static IEnumerable<(string What, ExpectedOutputs Changed)> Changes(ExpectedOutputs outputs)
    {
        foreach (ExpectedStore store in outputs.Stores)
        {
            int index = outputs.Stores.IndexOf(store);
            int place = Array.FindIndex(store.Mask ?? [0xff], mask => mask != 0);
            byte[] bytes = [.. store.Bytes];
            bytes[place] ^= (byte)LowestBit(store.Mask?[place] ?? 0xff);
            ExpectedOutputs changed = Copy(outputs);
            changed.Stores[index] = store with { Bytes = bytes };
            yield return ("a bit of a store", changed);
        }

        if (outputs.Interrupts.Count > 0)
        {
            ExpectedOutputs changed = Copy(outputs);
            changed.Interrupts[0] = changed.Interrupts[0] with { Data = changed.Interrupts[0].Data ^ 1 };
            yield return ("an interrupt's data", changed);
            changed = Copy(outputs);
            changed.Interrupts.RemoveAt(0);
            yield return ("one interrupt less", changed);
        }

        if (outputs.Messages.Count > 0)
        {
            ExpectedOutputs changed = Copy(outputs);
            changed.Messages[0] = changed.Messages[0] with { Payload = changed.Messages[0].Payload ^ 1 };
            yield return ("a message's payload", changed);
            changed = Copy(outputs);
            changed.Messages[0] = changed.Messages[0] with { RequesterId = changed.Messages[0].RequesterId ^ 1 };
            yield return ("a message's requester", changed);
            changed = Copy(outputs);
            changed.Messages.RemoveAt(0);
            yield return ("one message less", changed);
        }

        if (outputs.Observability.Count > 0)
        {
            ExpectedOutputs changed = Copy(outputs);
            changed.Observability[0] = changed.Observability[0] with { Reads = !changed.Observability[0].Reads };
            yield return ("an observability request", changed);
        }

        ExpectedOutputs more = Copy(outputs);
        more.Observability.Add(new(Reads: true, Writes: true));
        yield return ("one observability request more", more);
    }

    private static ExpectedOutputs Copy(ExpectedOutputs outputs) => ExpectedOutputs.Merge(outputs, ExpectedOutputs.None);

    private static ulong LowestBit(ulong mask) => mask & (~mask + 1);
}
