using Ioasis.Devices.Nvme;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Devices.Tests.Nvme;

/// <summary>Registers and the controller's life (base specification 2.0, sections 3.1.3, 3.5 to 3.7).</summary>
public sealed class RegisterTests
{
    [Fact]
    public void Capabilities_say_what_the_controller_can()
    {
        using NvmeHost host = new();
        ulong capabilities = host.Read64(NvmeRegisters.Capabilities);
        (capabilities & 0xffff).ShouldBe(0xfffful);
        (capabilities >> 16 & 1).ShouldBe(1ul);
        (capabilities >> 32 & 0xf).ShouldBe(0ul);
        (capabilities >> 37 & 1).ShouldBe(1ul);
        (capabilities >> 48 & 0xf).ShouldBe(0ul);
        (capabilities >> 52 & 0xf).ShouldBe(4ul);
        host.Read32(NvmeRegisters.Capabilities).ShouldBe((uint)capabilities);
        host.Read32(NvmeRegisters.Capabilities + 4).ShouldBe((uint)(capabilities >> 32));
        host.Read32(NvmeRegisters.Version).ShouldBe(0x0002_0000u);
        host.Read32(0x38).ShouldBe(0u);
        host.Read32(0x3c).ShouldBe(0u);
    }

    [Fact]
    public void The_PCI_function_is_an_NVM_Express_controller_with_two_base_addresses()
    {
        using NvmeHost host = new();
        Span<byte> config = stackalloc byte[64];
        host.Backend.Read((int)VfioPciRegion.Config, 0, config, out _).ShouldBe(Errno.Success);
        (config[9], config[10], config[11]).ShouldBe(((byte)2, (byte)8, (byte)1));
        host.Backend.GetRegion(0, out DeviceRegion region).ShouldBe(Errno.Success);
        region.Areas!.Select(static area => (area.Offset, area.Size, area.Kind)).ShouldBe(
            [(0ul, 4096ul, DeviceAreaKind.Registers), (4096ul, region.Size - 4096, DeviceAreaKind.Doorbells)]);
        region.Size.ShouldBeGreaterThanOrEqualTo(4096ul + (65 * 8));
    }

    [Fact]
    public void Enabling_makes_it_ready_and_disabling_takes_that_back_and_keeps_the_admin_queue()
    {
        using NvmeHost host = NvmeHost.Ready();
        ulong queue = host.Admin.Submission;
        host.Write32(NvmeRegisters.Configuration, 0x46_0000);
        host.Status.ShouldBe(0u);
        host.Read64(NvmeRegisters.AdminSubmissionQueue).ShouldBe(queue);
        host.Read32(NvmeRegisters.AdminQueueAttributes).ShouldBe(0x1f_001fu);
        host.Enable();
        _ = host.Admin.Succeed(Command.Identify(1, 0, host.Memory.Allocate(4096)));
    }

    public static TheoryData<uint, uint, ulong> Impossible { get; } = new()
    {
        // A command set that is not there, a page too large, an arbitration that is not there, a queue of one entry, a queue off its page.
        { 0x46_0011, 0x1f_001f, 0x10000 },
        { 0x46_0281, 0x1f_001f, 0x100000 },
        { 0x46_0801, 0x1f_001f, 0x10000 },
        { 0x46_0001, 0x1f_0000, 0x10000 },
        { 0x46_0001, 0x00_001f, 0x10000 },
        { 0x46_0081, 0x1f_001f, 0x11000 },
    };

    [Theory]
    [MemberData(nameof(Impossible))]
    public void What_cannot_be_enabled_is_fatal_until_it_is_disabled(uint configuration, uint attributes, ulong address)
    {
        using NvmeHost host = new();
        host.Write32(NvmeRegisters.AdminQueueAttributes, attributes);
        host.Write64(NvmeRegisters.AdminSubmissionQueue, address);
        host.Write64(NvmeRegisters.AdminCompletionQueue, address);
        host.Write32(NvmeRegisters.Configuration, configuration);
        host.Status.ShouldBe(NvmeRegisters.Fatal);
        host.Write32(NvmeRegisters.Configuration, 0);
        host.Status.ShouldBe(0u);
        host.Enable();
    }

    [Fact]
    public void While_it_is_enabled_page_size_command_set_and_arbitration_stay()
    {
        using NvmeHost host = NvmeHost.Ready();
        host.Write32(NvmeRegisters.Configuration, 0x46_0001 | (3 << 7) | (7 << 11) | (6 << 4));
        host.Read32(NvmeRegisters.Configuration).ShouldBe(0x46_0001u);
        host.Status.ShouldBe(NvmeRegisters.Ready);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Shutdown_completes_and_takes_no_command_until_the_next_enable(int notification)
    {
        using NvmeHost host = NvmeHost.Ready();
        QueuePair queue = host.CreateQueue();
        host.Write32(NvmeRegisters.Configuration, 0x46_0001u | ((uint)notification << 14));
        (host.Status & NvmeRegisters.ShutdownMask).ShouldBe(NvmeRegisters.ShutdownComplete);
        _ = queue.Submit(new(NvmeIoOpcode.Flush) { Namespace = 1 });
        queue.Take().ShouldBeEmpty();
        host.Write32(NvmeRegisters.Configuration, 0x46_0000);
        host.Enable();
        (host.Status & NvmeRegisters.ShutdownMask).ShouldBe(0u);
    }

    [Fact]
    public void The_subsystem_reset_needs_its_word_and_says_that_it_was()
    {
        using NvmeHost host = NvmeHost.Ready();
        host.Write32(NvmeRegisters.SubsystemReset, 1);
        host.Status.ShouldBe(NvmeRegisters.Ready);
        host.Write32(NvmeRegisters.SubsystemReset, NvmeRegisters.SubsystemResetValue);
        host.Status.ShouldBe(NvmeRegisters.SubsystemResetOccurred);
        host.Read32(NvmeRegisters.Configuration).ShouldBe(0u);
        host.Read64(NvmeRegisters.AdminSubmissionQueue).ShouldBe(0ul);
        host.Write32(NvmeRegisters.Status, NvmeRegisters.SubsystemResetOccurred);
        host.Status.ShouldBe(0u);
        host.Enable();
    }

    [Fact]
    public void A_reset_of_the_function_forgets_everything_but_what_is_on_the_medium()
    {
        using NvmeHost host = NvmeHost.Ready();
        QueuePair queue = host.CreateQueue();
        ulong data = host.Memory.Allocate(4096);
        host.Memory[data, 512].Fill(0x5a);
        _ = queue.Succeed(Command.Blocks(NvmeIoOpcode.Write, 3, 1, data));
        _ = host.Admin.Submit(new(NvmeAdminOpcode.AsyncEventRequest));
        host.Backend.Reset().ShouldBe(Errno.Success);
        host.Read64(NvmeRegisters.AdminSubmissionQueue).ShouldBe(0ul);
        host.Status.ShouldBe(0u);
        host.SetCommand(6);
        host.Enable();
        queue = host.CreateQueue();
        host.Memory[data, 512].Clear();
        _ = queue.Succeed(Command.Blocks(NvmeIoOpcode.Read, 3, 1, data));
        host.Memory[data, 512].IndexOfAnyExcept((byte)0x5a).ShouldBe(-1);
    }

    [Fact]
    public void Without_bus_mastering_no_command_is_fetched_and_the_controller_is_fatal()
    {
        using NvmeHost host = NvmeHost.Ready();
        host.SetCommand(2);
        _ = host.Admin.Submit(Command.Identify(1, 0, host.Memory.Allocate(4096)));
        (host.Status & NvmeRegisters.Fatal).ShouldBe(NvmeRegisters.Fatal);
    }

    [Fact]
    public void A_queue_that_is_not_mapped_makes_the_controller_fatal_and_a_reset_leads_on()
    {
        using NvmeHost host = NvmeHost.Ready();
        host.Memory.SetMapped(host.Admin.Submission, 64, false);
        _ = host.Admin.Submit(Command.Identify(1, 0, host.Memory.Allocate(4096)));
        (host.Status & NvmeRegisters.Fatal).ShouldBe(NvmeRegisters.Fatal);
        host.Controller.IsFatal.ShouldBeTrue();
        host.Write32(NvmeRegisters.Configuration, 0);
        host.Enable();
        host.Memory.SetMapped(host.Admin.CompletionAt, 16, false);
        _ = host.Admin.Submit(Command.Identify(1, 0, host.Memory.Allocate(4096)));
        (host.Status & NvmeRegisters.Fatal).ShouldBe(NvmeRegisters.Fatal);
    }

    [Fact]
    public void Bytes_and_words_are_read_and_not_written()
    {
        using NvmeHost host = new();
        Span<byte> two = [0xff, 0xff];
        host.Backend.Write(0, NvmeRegisters.AdminQueueAttributes, two, out _).ShouldBe(Errno.Success);
        host.Read32(NvmeRegisters.AdminQueueAttributes).ShouldBe(0u);
        host.Write32(NvmeRegisters.AdminQueueAttributes, 0x0123_0456);
        host.Backend.Read(0, NvmeRegisters.AdminQueueAttributes + 2, two, out _).ShouldBe(Errno.Success);
        (two[0], two[1]).ShouldBe(((byte)0x23, (byte)0x01));
    }
}
