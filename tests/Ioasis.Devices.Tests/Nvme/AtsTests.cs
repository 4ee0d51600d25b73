using Ioasis.Devices.Nvme;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Devices.Tests.Nvme;

/// <summary>A controller that translates addresses itself and asks for pages that are missing (PCIe ATS and PRI), by its PASID.</summary>
public sealed class AtsTests : IDisposable
{
    private readonly Link _link = new();
    private readonly NvmeHost _host;
    private readonly QueuePair _queue;
    private readonly ulong _data;

    public AtsTests()
    {
        NvmeController controller = new(new()
        {
            Namespaces = [new() { Size = 1 << 20 }],
            Ats = true,
            PageRequests = true,
            PasidBits = 20,
            Pasid = new(5),
        });
        EndpointAts ats = new(_link, _link, DeviceId.FromPci(0, 0, 1, 0), pageRequests: true);
        _host = new(controller, port: _link, ats: ats);
        _link.Memory = _host.Memory;
        _link.Ats = ats;
        _host.Enable();
        _queue = _host.CreateQueue();
        _data = _host.Memory.Allocate(65536);
    }

    public void Dispose() => _host.Dispose();

    private Command Read(int blocks) => Command.Blocks(NvmeIoOpcode.Read, 0, blocks, _data, _data + 4096);

    [Fact]
    public void Translations_are_asked_for_with_the_PASID_and_translated_requests_carry_none()
    {
        _ = _queue.Succeed(Read(8));
        _link.Pasids.ShouldBe([5u]);
        _link.Untranslated.ShouldBe(0);
        _link.TranslatedWithPasid.ShouldBe(0);
    }

    [Fact]
    public void A_command_waits_for_its_pages_and_others_go_on()
    {
        _link.Remove(_data);
        _ = _queue.Submit(Read(8) with { Id = 1 });
        _ = _queue.Submit(new(NvmeIoOpcode.Flush) { Namespace = 1, Id = 2 });
        _queue.Take().ShouldHaveSingleItem().Id.ShouldBe((ushort)2);
        _host.Controller.Pending.ShouldBe(1);
        _link.Answer(0);
        Completion completion = _queue.Take().ShouldHaveSingleItem();
        (completion.Id, completion.Status).ShouldBe(((ushort)1, NvmeStatus.Success));
        _host.Controller.Pending.ShouldBe(0);
    }

    [Fact]
    public void All_pages_of_a_piece_are_asked_for_together()
    {
        for (ulong page = 0; page < 2; page++)
        {
            _link.Remove(_data + (page * 4096));
        }

        _ = _queue.Submit(Read(16));
        _link.Wanted.Count.ShouldBe(2);
        _link.Answer(0);
        _queue.Take().ShouldHaveSingleItem().Status.ShouldBe(NvmeStatus.Success);
    }

    [Fact]
    public void An_answer_that_comes_within_the_request_is_taken_too()
    {
        _link.AnswersAtOnce = true;
        _link.Remove(_data);
        _ = _queue.Succeed(Read(8));
    }

    [Fact]
    public void A_page_that_is_refused_is_an_error_of_the_transfer()
    {
        _link.Remove(_data);
        _ = _queue.Submit(Read(8));
        _link.Answer(1);
        _queue.Take().ShouldHaveSingleItem().Code.ShouldBe(NvmeStatus.DataTransferError);
        _host.Status.ShouldBe(NvmeRegisters.Ready);
    }

    [Fact]
    public void Queues_wait_for_their_pages_too()
    {
        _link.Remove(_queue.Submission);
        _ = _queue.Submit(Read(8));
        _queue.Take().ShouldBeEmpty();
        _link.Answer(0);
        _queue.Take().ShouldHaveSingleItem().Status.ShouldBe(NvmeStatus.Success);
        _link.Remove(_queue.CompletionAt);
        _ = _queue.Submit(Read(8));
        _ = _queue.Submit(Read(8));
        _queue.Take(rings: false).ShouldBeEmpty();
        _link.Answer(0);
        _queue.Take().Count.ShouldBe(2);

        _link.Remove(_queue.Submission);
        _ = _queue.Submit(Read(8));
        _link.Answer(1);
        (_host.Status & NvmeRegisters.Fatal).ShouldBe(NvmeRegisters.Fatal);
    }

    [Fact]
    public void A_reset_forgets_what_waits_and_late_answers_do_nothing()
    {
        _link.Remove(_data);
        _ = _queue.Submit(Read(8));
        _host.Write32(NvmeRegisters.Configuration, 0);
        _host.Controller.Pending.ShouldBe(0);
        _host.Memory[_data, 512].Fill(0xee);
        _link.Answer(0);
        _host.Memory[_data, 512].IndexOfAnyExcept((byte)0xee).ShouldBe(-1);
    }

    [Fact]
    public void A_page_that_goes_again_before_it_is_used_is_asked_for_so_often_and_no_more()
    {
        _link.AnswersAtOnce = true;
        _link.TakesBack = true;
        _link.Remove(_data);
        _queue.Refuse(NvmeStatus.DataTransferError, Read(8));
    }

    [Fact]
    public void A_PASID_that_was_stopped_moves_nothing_until_it_begins_anew()
    {
        IPasidUser user = _host.Controller.PasidUser.ShouldNotBeNull();
        user.StopPasid(new(5)).ShouldBe(Errno.Success);
        user.IsPasidDrained(new(5), out _).ShouldBeTrue();
        _ = _queue.Submit(Read(8));
        (_host.Status & NvmeRegisters.Fatal).ShouldBe(NvmeRegisters.Fatal);
        user.BeginPasid(new(5));
        _host.Write32(NvmeRegisters.Configuration, 0);
        _host.Enable();
        _ = _host.CreateQueue().Succeed(Read(8));
    }

    /// <summary>The other end: translations one to one, for pages that are there; requests are answered when the test says so.</summary>
    private sealed class Link : IPcieAtsPort, IDmaPort
    {
        private readonly HashSet<ulong> _removed = [];

        public HostMemory Memory { get; set; } = null!;

        public EndpointAts Ats { get; set; } = null!;

        public List<PcieMessage> Wanted { get; } = [];

        public HashSet<uint> Pasids { get; } = [];

        public int Untranslated { get; private set; }

        public int TranslatedWithPasid { get; private set; }

        public bool AnswersAtOnce { get; set; }

        public bool TakesBack { get; set; }

        public void Remove(ulong page)
        {
            _ = _removed.Add(page & ~4095ul);
            Ats.Invalidate(new(PcieAts.InvalidationRequestCode, 8, 0, new(5), page & ~4095ul));
        }

        public void Answer(int code)
        {
            PcieMessage[] wanted = [.. Wanted];
            Wanted.Clear();
            foreach (PcieMessage message in wanted)
            {
                Answer(message, code);
            }
        }

        private void Answer(in PcieMessage message, int code)
        {
            if (code == 0 && !TakesBack)
            {
                _ = _removed.Remove(message.Payload & ~4095ul);
            }

            ulong index = message.Payload >> PcieAts.GroupShift & PcieAts.GroupMask;
            Ats.TakeResponse(new(
                PcieAts.GroupResponseCode, 8, 0, new(5), (index << PcieAts.ResponseGroupShift) | ((ulong)code << PcieAts.ResponseCodeShift)));
        }

        public bool HandleInvalidationCompletion(in PcieMessage message) => true;

        public void HandleInvalidationTimeout(uint tags)
        {
        }

        public void HandlePageRequest(in PcieMessage message)
        {
            if (AnswersAtOnce)
            {
                Answer(message, 0);
            }
            else
            {
                Wanted.Add(message);
            }
        }

        public void Translate(in DmaRequest request, out DmaTranslation translation)
        {
            _ = Pasids.Add(request.HasPasid ? request.Pasid.Value : 0);
            bool isThere = !_removed.Contains(request.Address.Value & ~4095ul);
            translation = new(
                new(request.Address.Value),
                DmaStatus.Success,
                flags: isThere ? DmaTranslationFlags.Read | DmaTranslationFlags.Write : DmaTranslationFlags.None);
        }

        public DmaStatus Read(in DmaRequest request, Span<byte> destination)
        {
            Note(request);
            return Memory.Read(request, destination);
        }

        public DmaStatus Write(in DmaRequest request, ReadOnlySpan<byte> source)
        {
            Note(request);
            return Memory.Write(request, source);
        }

        private void Note(in DmaRequest request)
        {
            TranslatedWithPasid += request.HasPasid ? 1 : 0;
            Untranslated += request.Kind == DmaKind.Translated ? 0 : 1;
        }
    }
}
