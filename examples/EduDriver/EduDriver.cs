using Ioasis.Client;
using Ioasis.Primitives;
using Ioasis.Uapi;

namespace Ioasis.Examples;

/// <summary>
/// A driver for QEMU's educational device (1234:11e8), written against VFIO only. It does not know, and cannot find out,
/// whether the kernel behind the descriptor is Linux or the embedded one.
/// </summary>
public sealed class EduDriver : IDisposable
{
    /// <summary>Bytes of the device's own buffer.</summary>
    public const int BufferSize = 4096;

    /// <summary>The device sends addresses of this many bits: IOVAs for it lie below 2^28.</summary>
    public const int AddressBits = 28;

    private const uint Identity = 0x11e8_1234;
    private const ulong BufferStart = 0x40000;
    private const uint FactorialDone = 1;
    private const uint TransferDone = 0x100;

    private readonly VfioRegion _registers;
    private readonly VfioInterruptSet _interrupts;
    private readonly bool _isWired;

    private EduDriver(VfioRegion registers, VfioInterruptSet interrupts, bool isWired)
    {
        _registers = registers;
        _interrupts = interrupts;
        _isWired = isWired;
    }

    private enum Register : ulong
    {
        Identification = 0x00,
        Liveness = 0x04,
        Factorial = 0x08,
        Status = 0x20,
        InterruptStatus = 0x24,
        InterruptRaise = 0x60,
        InterruptAcknowledge = 0x64,
        DmaSource = 0x80,
        DmaDestination = 0x88,
        DmaCount = 0x90,
        DmaCommand = 0x98,
    }

    /// <summary>Takes over a device that is bound and attached, or was opened through its group.</summary>
    /// <param name="device">The device; it stays the caller's.</param>
    /// <param name="wired">Use the wired interrupt although there is MSI.</param>
    /// <exception cref="IommuException">The kernel refused a call.</exception>
    /// <exception cref="NotSupportedException">It is another device.</exception>
    public static EduDriver Start(VfioDevice device, bool wired = false)
    {
        ArgumentNullException.ThrowIfNull(device);
        VfioRegion config = device.GetRegion(VfioPciRegion.Config);
        uint identity = config.Read<uint>(0);
        if (identity != Identity)
        {
            throw new NotSupportedException($"{device.Path} is 0x{identity:x8}, not an edu device.");
        }

        // Memory space and bus master: without the first no register answers, without the second no DMA and no MSI leaves.
        config.Write(4, (ushort)(config.Read<ushort>(4) | 6));
        bool isWired = wired || device.GetInterrupt(VfioPciInterrupt.Msi).Count == 0;
        VfioInterruptSet interrupts = device.EnableInterrupts(isWired ? VfioPciInterrupt.Intx : VfioPciInterrupt.Msi);
        return new(device.GetRegion(VfioPciRegion.Bar0), interrupts, isWired);
    }

    /// <summary>The identification register: version in the upper half, 0x00ed in the lower.</summary>
    public uint ReadIdentification() => Read(Register.Identification);

    /// <summary>Whether the device answers with the complement of what is written to it.</summary>
    public bool IsAlive(uint value)
    {
        Write(Register.Liveness, value);
        return Read(Register.Liveness) == ~value;
    }

    /// <summary>Has the device compute a factorial modulo 2^32, and waits for its interrupt.</summary>
    public async Task<uint> ComputeFactorialAsync(uint n, CancellationToken cancellationToken = default)
    {
        const uint InterruptWhenDone = 0x80;
        Write(Register.Status, InterruptWhenDone);
        Write(Register.Factorial, n);
        await WaitForAsync(FactorialDone, cancellationToken).ConfigureAwait(false);
        Write(Register.Status, 0);
        return Read(Register.Factorial);
    }

    /// <summary>Has the device raise an interrupt, and waits for it.</summary>
    /// <param name="bits">Bits of the interrupt status, not 0.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    public async Task RaiseInterruptAsync(uint bits, CancellationToken cancellationToken = default)
    {
        Write(Register.InterruptRaise, bits);
        await WaitForAsync(bits, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>The device reads memory into its buffer.</summary>
    /// <param name="source">Where the memory is mapped, below 2^28.</param>
    /// <param name="offset">Offset in the buffer.</param>
    /// <param name="count">Bytes.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    public Task CopyToDeviceAsync(Iova source, int offset, int count, CancellationToken cancellationToken = default) =>
        TransferAsync(source.Value, BufferStart + (ulong)offset, count, toMemory: false, cancellationToken);

    /// <summary>The device writes memory from its buffer.</summary>
    /// <param name="destination">Where the memory is mapped, below 2^28.</param>
    /// <param name="offset">Offset in the buffer.</param>
    /// <param name="count">Bytes.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    public Task CopyFromDeviceAsync(Iova destination, int offset, int count, CancellationToken cancellationToken = default) =>
        TransferAsync(BufferStart + (ulong)offset, destination.Value, count, toMemory: true, cancellationToken);

    /// <summary>Disables the interrupts.</summary>
    public void Dispose() => _interrupts.Dispose();

    private async Task TransferAsync(
        ulong source, ulong destination, int count, bool toMemory, CancellationToken cancellationToken)
    {
        const uint Run = 1;
        const uint ToMemory = 2;
        const uint InterruptWhenDone = 4;
        Write(Register.DmaSource, (uint)source);
        Write(Register.DmaDestination, (uint)destination);
        Write(Register.DmaCount, (uint)count);
        Write(Register.DmaCommand, Run | InterruptWhenDone | (toMemory ? ToMemory : 0));
        await WaitForAsync(TransferDone, cancellationToken).ConfigureAwait(false);
    }

    private async Task WaitForAsync(uint bits, CancellationToken cancellationToken)
    {
        while (true)
        {
            uint status = Read(Register.InterruptStatus);
            if ((status & bits) == bits)
            {
                Write(Register.InterruptAcknowledge, bits);
                Rearm();
                return;
            }

            _ = await _interrupts[0].WaitAsync(cancellationToken).ConfigureAwait(false);
            Rearm();
        }
    }

    // The wire masks itself when it fires; if it is still asserted it fires again.
    private void Rearm()
    {
        if (_isWired)
        {
            _interrupts.Unmask();
        }
    }

    private uint Read(Register register) => _registers.Read<uint>((ulong)register);

    private void Write(Register register, uint value) => _registers.Write((ulong)register, value);
}
