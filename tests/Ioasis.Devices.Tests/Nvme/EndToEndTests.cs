using System.Buffers.Binary;
using Ioasis.Client;
using Ioasis.Devices.Nvme;
using Ioasis.Embedded;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Devices.Tests.Nvme;

/// <summary>
/// The whole machine: a driver over the client, iommufd, an IOMMU that keeps what it may keep, and the controller behind it. IOVAs and
/// addresses differ.
/// </summary>
public sealed class EndToEndTests : IDisposable
{
    private const int Entries = 16;
    private const ulong Commands = 0;
    private const ulong Completions = 4096;
    private const ulong Data = 8192;

    private readonly EmbeddedPlatform _platform = new(new() { Caching = Hardware.CachingMode.Hostile });
    private NvmeController? _controller;
    private VfioDevice? _device;
    private IommuFd? _iommu;
    private IoAddressSpace? _space;
    private DmaBuffer? _buffer;
    private VfioRegion? _registers;
    private uint _tail;

    public void Dispose()
    {
        _buffer?.Dispose();
        _device?.Dispose();
        _space?.Dispose();
        _iommu?.Dispose();
        _controller?.Dispose();
        _platform.Dispose();
    }

    private void Open(NvmeOptions options)
    {
        _controller = new(options);
        EmbeddedEndpoint endpoint = _platform.AddDevice(_controller, DeviceId.FromPci(0, 0, 3, 0));
        _iommu = IommuFd.Open(_platform.Kernel);
        _device = VfioDevice.Open(_platform.Kernel, endpoint.DevicePath);
        _ = _device.Bind(_iommu);
        _space = _iommu.AllocateAddressSpace();
        _ = _device.Attach(_space);
        _buffer = _space.AllocateBuffer(65536, Access.ReadWrite, new Iova(0x1234_0000));
        VfioRegion config = _device.GetRegion(VfioPciRegion.Config);
        config.Write(4, (ushort)(config.Read<ushort>(4) | 6));
        _registers = _device.GetRegion(VfioPciRegion.Bar0);
        _registers.Write(NvmeRegisters.AdminQueueAttributes, (uint)(Entries - 1) * 0x1_0001);
        _registers.Write(NvmeRegisters.AdminSubmissionQueue, _buffer.Iova.Value + Commands);
        _registers.Write(NvmeRegisters.AdminCompletionQueue, _buffer.Iova.Value + Completions);
        _registers.Write(NvmeRegisters.Configuration, 0x46_0001u);
        _registers.Read<uint>(NvmeRegisters.Status).ShouldBe(NvmeRegisters.Ready);
    }

    // The status of a command, once it has completed.
    private NvmeStatus Execute(Command command)
    {
        Span<byte> memory = _buffer!.Span;
        command.WriteTo(memory[(int)(_tail * 64)..], (ushort)_tail);
        uint slot = _tail++;
        _registers!.Write(NvmeRegisters.Doorbells, _tail);
        int at = (int)(Completions + (slot * 16) + 14);
        ushort status = BinaryPrimitives.ReadUInt16LittleEndian(memory[at..]);
        (status & 1).ShouldBe(1);
        _registers.Write(NvmeRegisters.Doorbells + 4, _tail);
        return (NvmeStatus)(status >> 1) & ~NvmeStatus.DoNotRetry;
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Identify_and_an_interrupt_come_through_the_IOMMU_with_and_without_ATS(bool ats)
    {
        Open(new() { Namespaces = [new() { Size = 1 << 20 }], Ats = ats });
        using VfioInterruptSet interrupts = _device!.EnableInterrupts(VfioPciInterrupt.MsiX);
        Execute(Command.Identify(1, 0, _buffer!.Iova.Value + Data)).ShouldBe(NvmeStatus.Success);
        BinaryPrimitives.ReadUInt32LittleEndian(_buffer.Span[((int)Data + 80)..]).ShouldBe(0x0002_0000u);
        (await interrupts[0].WaitAsync(TestContext.Current.CancellationToken)).ShouldBe(1ul);
        _platform.FaultCount.ShouldBe(0);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void What_is_not_mapped_any_more_is_not_written(bool ats)
    {
        Open(new() { Namespaces = [new() { Size = 1 << 20 }], Ats = ats });
        using DmaBuffer other = _space!.AllocateBuffer(4096, Access.ReadWrite, new Iova(0x2222_0000));
        Execute(Command.Identify(1, 0, 0x2222_0000)).ShouldBe(NvmeStatus.Success);
        other.Span.Clear();
        using (DmaBuffer gone = _space.AllocateBuffer(4096, Access.ReadWrite, new Iova(0x3333_0000)))
        {
            Execute(Command.Identify(1, 0, 0x3333_0000)).ShouldBe(NvmeStatus.Success);
        }

        Execute(Command.Identify(1, 0, 0x3333_0000)).ShouldBe(NvmeStatus.DataTransferError);

        // A translation that there is not is an answer to a device that asks, and no fault.
        (_platform.FaultCount > 0).ShouldBe(!ats);
        Execute(Command.Identify(1, 0, 0x2222_0000)).ShouldBe(NvmeStatus.Success);
        other.Span[..512].IndexOfAnyExcept((byte)0).ShouldNotBe(-1);
    }

    [Fact]
    public void A_mapping_for_reading_only_gives_no_room_for_answers()
    {
        Open(new() { Namespaces = [new() { Size = 1 << 20 }] });
        using DmaBuffer other = _space!.AllocateBuffer(4096, Access.Read, new Iova(0x2222_0000));
        Execute(Command.Identify(1, 0, 0x2222_0000)).ShouldBe(NvmeStatus.DataTransferError);
        _registers!.Read<uint>(NvmeRegisters.Status).ShouldBe(NvmeRegisters.Ready);
    }
}
