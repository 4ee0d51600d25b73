using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Ioasis.Client;
using Ioasis.Embedded;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Ioasis.VfioUser.Qemu;

namespace Ioasis.VfioUser.Tests;

/// <summary>An NVMe controller of QEMU's behind our IOMMU, and a small driver for it: one queue pair beside the admin queue, memory that the driver maps.</summary>
internal sealed unsafe class QemuNvme : IDisposable
{
    public const int Page = 4096;
    public const byte Write = 1;
    public const byte Read = 2;
    public const byte Identify = 6;

    // IOVAs of the driver's memory, which is mapped as one range: queues, and then data.
    public const ulong Base = 0x10_0000;
    public const ulong Data = Base + 0x8000;
    public const int Pages = 256;

    private const uint Entries = 16;
    private readonly IommuFd _iommu;
    private readonly uint[] _tails = new uint[2];
    private readonly uint[] _heads = new uint[2];
    private readonly bool[] _phases = [true, true];
    private readonly byte* _memory;

    public QemuNvme(string image, Action<string>? refused = null)
    {
        Device = QemuDevice.Start(
            "nvme,drive=d0,serial=ioasis-7", ["-drive", $"if=none,id=d0,format=raw,file={image}"], Lab.QemuX86, refused: refused);
        Platform = new(new());
        EmbeddedEndpoint endpoint = Platform.AddDevice(Device, DeviceId.FromPci(0, 0, 3, 0));
        _iommu = IommuFd.Open(Platform.Kernel);
        Client = VfioDevice.Open(Platform.Kernel, endpoint.DevicePath);
        Client.Bind(_iommu);
        Space = _iommu.AllocateAddressSpace();
        Client.Attach(Space);
        _memory = (byte*)NativeMemory.AlignedAlloc(Pages * Page, Page);
        Memory.Clear();
        Space.Map((ulong)_memory, Pages * Page, new Iova(Base), Access.ReadWrite);
        Client.GetRegion(VfioPciRegion.Config).Write(4, (ushort)6);
        Registers = Client.GetRegion(VfioPciRegion.Bar0);
    }

    public QemuDevice Device { get; }

    public EmbeddedPlatform Platform { get; }

    public VfioDevice Client { get; }

    public IoAddressSpace Space { get; }

    public VfioRegion Registers { get; }

    public Span<byte> Memory => new(_memory, Pages * Page);

    public ulong UserAddress => (ulong)_memory;

    /// <summary>Memory by its IOVA.</summary>
    public Span<byte> At(ulong iova, int length) => Memory.Slice((int)(iova - Base), length);

    public static void WaitFor(Func<bool> condition) => SpinWait.SpinUntil(condition, TimeSpan.FromMinutes(1)).ShouldBeTrue();

    public void Enable()
    {
        Registers.Write(0x24, (Entries - 1) * 0x1_0001);
        Registers.Write(0x28, Base);
        Registers.Write(0x30, Base + Page);
        Registers.Write(0x14, 0x46_0001u);
        WaitFor(() => (Registers.Read<uint>(0x1c) & 1) != 0);
        Execute(0, 5, 0, Base + (3 * Page), 0, 1 | ((Entries - 1) << 16), 3).ShouldBe(0u);
        Execute(0, 1, 0, Base + (2 * Page), 0, 1 | ((Entries - 1) << 16), 1 | (1 << 16)).ShouldBe(0u);
    }

    /// <summary>Blocks of 512 bytes.</summary>
    public uint Transfer(byte opcode, uint first, int blocks, ulong data, ulong more = 0) => Execute(1, opcode, 1, data, more, first, 0, (uint)blocks - 1);

    /// <summary>Makes a command and waits for its completion, which is looked for in memory alone.</summary>
    /// <returns>The status without the phase: 0 for success.</returns>
    public uint Execute(int queue, byte opcode, uint space, ulong data, ulong more, uint word10, uint word11 = 0, uint word12 = 0)
    {
        Span<byte> entry = At(Base + (2 * (ulong)queue * Page) + (64 * _tails[queue]), 64);
        entry.Clear();
        entry[0] = opcode;
        BinaryPrimitives.WriteUInt32LittleEndian(entry[4..], space);
        BinaryPrimitives.WriteUInt64LittleEndian(entry[24..], data);
        BinaryPrimitives.WriteUInt64LittleEndian(entry[32..], more);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[40..], word10);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[44..], word11);
        BinaryPrimitives.WriteUInt32LittleEndian(entry[48..], word12);
        _tails[queue] = (_tails[queue] + 1) % Entries;
        Registers.Write(0x1000 + (8ul * (uint)queue), _tails[queue]);
        uint* last = (uint*)(_memory + ((2 * queue) + 1) * Page + (16 * _heads[queue]) + 12);
        uint wanted = _phases[queue] ? 0x1_0000u : 0;
        WaitFor(() => (Volatile.Read(ref *last) & 0x1_0000) == wanted);
        uint status = *last >> 17;
        _heads[queue] = (_heads[queue] + 1) % Entries;
        _phases[queue] ^= _heads[queue] == 0;
        Registers.Write(0x1004 + (8ul * (uint)queue), _heads[queue]);
        return status;
    }

    public void Dispose()
    {
        Client.Dispose();
        Space.Dispose();
        _iommu.Dispose();
        Platform.Dispose();
        Device.Dispose();
        NativeMemory.AlignedFree(_memory);
    }
}
