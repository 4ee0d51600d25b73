using System.Runtime.InteropServices;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Native;

/// <content>What devices do.</content>
internal static unsafe partial class Exports
{
    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_dma_read")]
    private static int ReadMemory(nint handle, uint pasid, ulong iova, nint buffer, nuint count) =>
        AccessMemory("ioasis_dma_read", handle, pasid, iova, buffer, count, RequestFlags.None);

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_dma_write")]
    private static int WriteMemory(nint handle, uint pasid, ulong iova, nint buffer, nuint count) =>
        AccessMemory("ioasis_dma_write", handle, pasid, iova, buffer, count, RequestFlags.Write);

    private static int AccessMemory(
        string call, nint handle, uint pasid, ulong iova, nint buffer, nuint count, RequestFlags request)
    {
        try
        {
            using CallScope<NativeDevice> scope = new(handle);
            if (scope.Target is not { } device)
            {
                return NoDevice(call, handle);
            }

            if (CheckRequest(device, pasid, iova, count) is { } wrong)
            {
                return LastError.Set(call, wrong);
            }

            bool isWrite = request == RequestFlags.Write;
            if (CallerMemory.CountAccessible(buffer, count, writable: !isWrite) < count)
            {
                return LastError.Set(call, Failure.BadAddress("buffer", buffer));
            }

            DmaRequest made = device.MakeRequest(pasid, iova, request);
            Span<byte> bytes = new((void*)buffer, (int)count);
            DmaStatus status = isWrite
                ? device.Endpoint.Port.Write(made, bytes)
                : device.Endpoint.Port.Read(made, bytes);
            device.Platform.Count(isWrite, (int)count, status == DmaStatus.Success);
            return status == DmaStatus.Success ? 0 : Refused(call, device, pasid, iova, count, status);
        }
        catch (Exception e)
        {
            return Broken(call, e);
        }
    }

    [UnmanagedCallersOnly(EntryPoint = "ioasis_impl_translate")]
    private static int Translate(nint handle, nint translation)
    {
        const string Call = "ioasis_translate";
        try
        {
            using CallScope<NativeDevice> scope = new(handle);
            if (scope.Target is not { } device)
            {
                return NoDevice(Call, handle);
            }

            if (SizedStructure.Take(translation, "translation", out Translation asked) is { } wrong)
            {
                return LastError.Set(Call, wrong);
            }

            if ((asked.Request & ~RequestFlags.All) != 0)
            {
                return LastError.Set(Call, Errno.InvalidArgument, $"translation.request is 0x{(uint)asked.Request:x}: bits 0 to 3 are known");
            }

            if (CheckRequest(device, asked.Pasid, asked.Iova, 1) is { } impossible)
            {
                return LastError.Set(Call, impossible);
            }

            device.Endpoint.Port.Translate(device.MakeRequest(asked.Pasid, asked.Iova, asked.Request), out DmaTranslation answer);
            if (answer.Status != DmaStatus.Success)
            {
                return Refused(Call, device, asked.Pasid, asked.Iova, 1, answer.Status);
            }

            uint size = asked.Size;
            asked.Address = answer.Address.Value;
            asked.SizeLog2 = answer.SizeLog2;
            asked.Permissions = (uint)(answer.Flags & (DmaTranslationFlags.Read | DmaTranslationFlags.Write | DmaTranslationFlags.Execute));
            return SizedStructure.Give(translation, "translation", size, ref asked) is { } bad ? LastError.Set(Call, bad) : 0;
        }
        catch (Exception e)
        {
            return Broken(Call, e);
        }
    }

    private static Failure? CheckRequest(NativeDevice device, uint pasid, ulong iova, nuint count)
    {
        if (pasid != NoPasid && pasid > Pasid.MaxValue)
        {
            return new(Errno.InvalidArgument, $"pasid is {pasid}: 0 to {Pasid.MaxValue} or IOASIS_NO_PASID are possible");
        }

        if (count > CallerMemory.Most)
        {
            return new(Errno.InvalidArgument, $"count is {count}: at most {CallerMemory.Most} are possible");
        }

        if (count > 0 && iova + (count - 1) < iova)
        {
            return new(Errno.InvalidArgument, $"[0x{iova:x}, +0x{count:x}) reaches beyond 2^64");
        }

        return device.Function is { IsBusMaster: false }
            ? new(Errno.NotPermitted, $"the driver has not made {device.Endpoint.Device.Name} a bus master (bit 2 of the command register)")
            : null;
    }

    private static int Refused(string call, NativeDevice device, uint pasid, ulong iova, nuint count, DmaStatus status)
    {
        string who = pasid == NoPasid ? device.Endpoint.Device.Name : $"{device.Endpoint.Device.Name} with PASID {pasid}";
        return status == DmaStatus.UnsupportedRequest
            ? LastError.Set(call, Errno.BadAddress, $"the IOMMU refused [0x{iova:x}, +0x{count:x}) to {who}: ioasis_fault_next() has the reason")
            : LastError.Set(call, Errno.IoError, $"the IOMMU aborted [0x{iova:x}, +0x{count:x}) of {who}: tables or memory cannot be read");
    }
}
